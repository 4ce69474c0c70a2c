"""The SLURM launcher: a plan as job arrays that wait for each other."""

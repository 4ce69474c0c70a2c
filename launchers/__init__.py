"""Where to run: launchers that carry out a plan, on this machine or on a cluster."""

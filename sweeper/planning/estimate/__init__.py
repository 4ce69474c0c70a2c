"""What a plan costs: time, memory, disk."""

"""From a plan to submitted arrays."""

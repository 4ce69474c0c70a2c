"""What a cluster is asked: its commands, accounting, queue, nodes, quotas."""

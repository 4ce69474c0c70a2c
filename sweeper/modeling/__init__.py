"""What is known of a model: shapes, checkpoints, layers, masks, devices."""

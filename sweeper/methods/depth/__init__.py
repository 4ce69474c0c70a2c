"""Methods that remove whole decoder layers."""

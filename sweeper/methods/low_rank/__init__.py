"""Methods that replace a matrix by two thin ones."""

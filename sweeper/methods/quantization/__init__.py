"""Methods that give weights (and inputs) fewer bits."""

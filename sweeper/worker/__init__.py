"""One stage carried out on one machine."""

"""The published numbers of the sources."""

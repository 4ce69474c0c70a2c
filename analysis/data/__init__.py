"""Results as checked tables and panels."""

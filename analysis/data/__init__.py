"""Results as they come in: checked, aligned, and made comparable."""

"""The configuration: its schema, the grid that overrides span, its documentation."""

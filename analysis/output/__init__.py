"""How tables, figures and pages are written."""

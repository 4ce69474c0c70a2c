"""The sources' tables, figures and claims, recomputed."""

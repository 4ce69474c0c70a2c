"""A race under way: its records, what is asked next, and the decision that says so, made once."""

"""Which cell keeps the most, and how sure that is."""

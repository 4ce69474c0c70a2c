"""The report of a sweep: its tables, sentences and page."""

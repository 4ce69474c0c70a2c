"""What came out: metrics, tables, figures and verdicts on a results table."""

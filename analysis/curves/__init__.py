"""Curves over compression: perplexity, tolerance, surfaces."""

"""Intervals, fits and variances."""

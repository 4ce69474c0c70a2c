"""Measures the error of every matrix at several sparsities, bits or ranks."""

from sweeper.stages.sensitivity.stage import run

__all__ = ["run"]

"""Measures a checkpoint from its files: mask, bits, bytes."""

from sweeper.stages.measure.stage import run

__all__ = ["run"]

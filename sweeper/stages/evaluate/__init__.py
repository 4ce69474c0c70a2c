"""Scores a checkpoint on one task."""

from sweeper.stages.evaluate.stage import run

__all__ = ["run"]

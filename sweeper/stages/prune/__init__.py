"""Prunes a model."""

from sweeper.stages.prune.stage import run

__all__ = ["run"]

"""Reads a checkpoint."""

from tests.stubs.stages.score import run

__all__ = ["run"]

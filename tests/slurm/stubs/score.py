"""Reads a checkpoint."""

from tests.stubstages.score import run

__all__ = ["run"]

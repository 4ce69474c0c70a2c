"""What the analysis refuses."""

from __future__ import annotations


class BadResults(ValueError):
    """A table of results that contradicts itself; the message names the rows and what is valid."""

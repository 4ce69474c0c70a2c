"""``isorate verify``: every score, table and verdict of a bundle, from its records alone."""

from __future__ import annotations

from pathlib import Path

from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.results.bundle import telling, verify


def perform(request: Request) -> int:
    """Check the bundles that are named; 0 if all hold, 1 if one does not."""
    if not request.config.bundles:
        raise BadInput(
            "bundles",
            "[]",
            "name a file that `isorate bundle` wrote.",
            "For example: isorate verify demo.bundle.zip",
        )
    paths = [Path(one).expanduser() for one in request.config.bundles]
    found = [(path, verify.verify(path)) for path in paths]
    holds = all(one.holds for _, one in found)
    request.answer(
        {"holds": holds, "bundles": [telling.document(path, one) for path, one in found]},
        "\n\n".join(telling.text(path, one) for path, one in found),
    )
    return 0 if holds else 1

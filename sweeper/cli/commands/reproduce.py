"""``isorate reproduce``: the tables, figures and claims of arXiv:2505.07289 from any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.cli.request import Request
from sweeper.errors import BadInput, IsorateError
from sweeper.planning.sweep import Sweep
from sweeper.results import sources
from sweeper.results.sources import Reading

if TYPE_CHECKING:
    from analysis.reproduction.reproduce import Item, Source

FOLDER = "reproduction"


def perform(request: Request) -> int:
    """Write what was asked for into the sweep's directory and name the page."""
    from analysis.errors import BadResults
    from analysis.reproduction import reproduce

    read = _read(request)
    readings = [read, *_against(request, read)]
    out, only = read.folder(FOLDER), request.config.only
    try:
        items = reproduce.items([_source(one) for one in readings], only)
        files = (
            reproduce.write_files(items, out)
            if only
            else reproduce.write(
                items,
                out,
                title=f"{sources.PAPER}: {' beside '.join(one.name for one in readings)}",
                provenance={
                    f"{one.name}: {key}": text
                    for one in readings
                    for key, text in one.provenance.items()
                },
            )
        )
    except BadResults as refused:
        raise IsorateError(str(refused)) from refused
    document = {
        "items": [item.name for item in items],
        "files": {name: str(path) for name, path in files.items()},
    }
    request.answer(document, _text(items, only, files))
    return 0


def _read(request: Request) -> Reading:
    """What source and name say; the other papers' own numbers are in no sweep."""
    from analysis.reproduction.other_papers import PAPERS

    config = request.config
    named = config.name or config.sweeps or config.source != "store"
    if config.only in PAPERS and not named:
        return sources.published(Sweep(request.home, "published"))
    return request.read()


def _against(request: Request, read: Reading) -> list[Reading]:
    against = request.config.against
    if against is None:
        return []
    if against != "published":
        raise BadInput("against", against, "valid: published, or null.")
    if request.config.source == "published":
        raise BadInput(
            "against",
            against,
            "the source is the published numbers already.",
            "Say source=store or source=mlflow.",
        )
    return [sources.published(read.sweep)]


def _source(read: Reading) -> Source:
    from analysis.published.reference import PUBLISHED
    from analysis.reproduction.reproduce import Source

    return Source(name=read.name, results=read.results, published=read.name == PUBLISHED)


def _text(items: Sequence[Item], only: str | None, files: Mapping[str, Path]) -> str:
    """The page; or the tables themselves, and where the files are, when one thing was asked for."""
    from analysis.output import render
    from analysis.reproduction.reproduce import PAGE

    if only is None:
        return f"Reproduction: {files[PAGE]}"
    tables = [render.to_markdown(table) for item in items for table in item.tables]
    return "\n".join([*tables, *(str(path) for path in files.values())])

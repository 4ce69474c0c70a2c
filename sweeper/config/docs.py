"""The reference of all configuration keys as Markdown, made from the schema: ``make docs``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields
from typing import Any

from omegaconf import MISSING

from sweeper.config import schema as schemas

_HEAD = """\
# Configuration

Made by `make docs` from the schema in `sweeper/config/schema.py`; a test keeps the two equal. The
choices of each section are files below `conf/`; `isorate --help` lists them, and
`isorate --cfg job` shows what a command line composes to. Keys of a launcher are explained in
`conf/hydra/launcher/`.
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_section("Top level", schemas.Config, ""), *_sections()])


def _sections() -> Iterator[str]:
    for item in fields(schemas.Config):
        nested = schemas.nested(item.type)
        if nested is not None:
            yield from _section(f"`{item.name}`", nested, f"{item.name}.")


def _section(title: str, schema: type, prefix: str) -> Iterator[str]:
    about = (schema.__doc__ or "").strip()
    yield from (f"## {title}", "", about, "", "| key | default | meaning |", "|---|---|---|")
    for item in fields(schema):
        nested = schemas.nested(item.type)
        if nested is None:
            row = (f"`{prefix}{item.name}`", _default(item), item.metadata.get("help", ""))
            yield f"| {' | '.join(row)} |"
        elif prefix:
            for inner in fields(nested):
                key = f"`{prefix}{item.name}.{inner.name}`"
                yield f"| {key} | {_default(inner)} | {inner.metadata.get('help', '')} |"
    yield ""


def _default(item: Field[Any]) -> str:
    factory = item.default_factory
    value = item.default if factory is NO_DEFAULT else factory()
    if value == MISSING:
        return "from the chosen file"
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    return f"`{value}`" if value != "" else "empty"


if __name__ == "__main__":
    print(markdown(), end="")

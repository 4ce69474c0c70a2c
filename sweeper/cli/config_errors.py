"""What Hydra and OmegaConf say about a configuration, for the person at the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterable

from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from sweeper.config import schema
from sweeper.errors import one_of

_NOISE = ("reference_type=", "object_type=", "Value '$VALUE'")  # their types and templates
_ADD = re.compile(r"To append to your (?:config|default list) use \+([\w./@]+)")
_MISSING = re.compile(r"Missing mandatory value: ([\w.]+)")


def explain(error: BaseException) -> str:
    """Their own words; the valid keys when a key is unknown, the key when it has no value."""
    chain = list(_chain(error))
    parts = [str(link).strip() for link in chain if str(link).strip()]
    missing = _MISSING.search(" ".join(parts))
    if missing:
        key = missing[1]
        return f"{key}: it has no default, and no value was given; add {key}=VALUE."
    lines = [line.strip() for part in dict.fromkeys(parts) for line in part.splitlines()]
    told = dict.fromkeys(
        line for line in lines if line and not line.startswith(_NOISE) and _is_true(line)
    )
    text = "\n  ".join(told)
    if any(isinstance(link, ConfigAttributeError | ConfigKeyError) for link in chain):
        text += f"\n  {_nearby_keys(' '.join(parts))}"
    return text


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_true(line: str) -> bool:
    """Whether a hint of Hydra's helps: it has keys added that nothing reads."""
    added = _ADD.search(line)
    return added is None or schema.is_open(added[1].rpartition(".")[0])


def _nearby_keys(text: str) -> str:
    keys = schema.valid_keys()
    words = {word.strip("'\".,").split("=")[0] for word in text.split()}
    sections = {word.split(".")[0] for word in words if "." in word}
    below = [k for k in keys if k.split(".")[0] in sections and "." in k]
    return one_of(below or sorted({k.split(".")[0] for k in keys}))

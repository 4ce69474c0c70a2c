"""Values that we hand to Hydra ourselves, quoted so that they arrive as they are.

Unquoted, a comma makes a sweep of a value, a percent sign or a space is a mistake, and
``null``, ``1e3`` or ``${x}`` become something else.
"""

from __future__ import annotations

import re

_BACKSLASHES = re.compile(r"(\\*)('|$)")
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def override(key: str, value: str) -> str:
    """``key=value`` for Hydra's command line; the value is that very string.

    Raises:
        ValueError: it holds a control character, which no override can.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{key}={value!r}")
    return f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """A text as a value in the grammar of Hydra's overrides, whatever is in it."""
    # inside quotes a backslash counts only before a quote, where it is doubled
    whole = _BACKSLASHES.sub(lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    # and OmegaConf reads what is left: a backslash before an interpolation makes it text
    return f"'{_INTERPOLATION.sub(lambda m: m[1] * 2 + chr(92) + '${', whole)}'"

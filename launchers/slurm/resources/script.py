"""What configuration may put into a batch script: no line of its own, no secret.

submitit quotes the values of ``#SBATCH`` lines, but a quoted line break still ends the comment
that such a line is for the shell. ``setup``, ``python`` and ``srun_args`` are shell on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sweeper.errors import BadInput
from sweeper.redaction import MASK, secret_set_by


def check(key: str, given: Mapping[str, Any]) -> None:
    """Refuse values that would end a line of the script, and secrets in setup lines.

    Raises:
        BadInput: naming the key; a secret is not repeated.
    """
    for name, value in given.items():
        for text in _texts(value):
            if any(not c.isprintable() and c != "\t" for c in text):
                raise BadInput(
                    f"{key}.{name}", repr(text), "valid: a single line without control characters."
                )
            if variable := secret_set_by(text):
                raise BadInput(
                    f"{key}.{name}",
                    f"...{variable}={MASK}",
                    "a secret would be kept in the batch script and in the records of the sweep.",
                    f"Export {variable} before isorate run (sbatch passes the environment on), "
                    f'or read it from a file: "export {variable}=$(cat ~/.secret)".',
                )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from (str(name), *_texts(inner))
    elif isinstance(value, Iterable):
        for inner in value:
            yield from _texts(inner)

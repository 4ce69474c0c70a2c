"""Keeps credentials out of everything that is shown, logged or handed on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

MASK = "***"
SHORTEST = 6  # masking a shorter secret would blank out ordinary words

_USERINFO = re.compile(r"(?<=://)[^/?#\s'\"]+(?=@)")
_QUERY = re.compile(r"(?i)((?:password|passwd|pwd|token|secret|api_?key|access_?key)=)[^&\s'\"]+")
_ASSIGNMENT = re.compile(r"(?:^|[\s;&])([A-Za-z_]\w*)=[\"']?([^\s\"';&]+)")
_SECRET_NAME = re.compile(r"(?i)(TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_?KEY|CREDENTIALS?)$")


class Redactor:
    """Masks user info in URIs, secret query values, and the secrets known when it was made.

    Args:
        uris: URIs whose password must not occur in any form, as when a database driver
            quotes it without its URI.
        environ: variables whose names end like a secret's (HF_TOKEN,
            MLFLOW_TRACKING_PASSWORD) and whose values are masked; the process's own.
    """

    def __init__(self, *uris: str, environ: Mapping[str, str] | None = None) -> None:
        known = set(_environment(os.environ if environ is None else environ))
        for uri in uris:
            known.update(_passwords(uri))
        self._known = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in self._known:
            text = text.replace(secret, MASK)
        return _QUERY.sub(rf"\1{MASK}", _USERINFO.sub(MASK, text))


def redact(text: str, *uris: str) -> str:
    """``text`` as a `Redactor` made now would leave it."""
    return Redactor(*uris)(text)


class Formatter(logging.Formatter):
    """Formats messages and tracebacks without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; part of `logging.Formatter`."""
        return redact(super().format(record))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write what is logged to stderr, with times and without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(asctime)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def secret_set_by(line: str) -> str | None:
    """The variable, named like a secret, that a shell line sets to a literal value, if any.

    ``export HF_TOKEN=$(cat file)`` names no secret; ``export HF_TOKEN=hf_abc`` does.
    """
    for name, value in _ASSIGNMENT.findall(line):
        if _SECRET_NAME.search(name) and not value.startswith("$"):
            return str(name)
    return None


def _environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and len(value) >= SHORTEST:
            yield value


def _passwords(uri: str) -> Iterator[str]:
    password = urlsplit(uri).password or ""
    for form in (password, unquote(password)):
        if len(form) >= SHORTEST:
            yield form

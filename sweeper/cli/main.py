"""The console command: Hydra's own command line, with a verb in front of the overrides.

``isorate plan prune.sparsity=0,25`` is ``python -m sweeper action=plan prune.sparsity=0,25``.
Exit status: 0 all cells done, 1 some failed, 2 bad input and nothing started, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isorate.overrides import quoted
from sweeper.cli import completion, plugins, recorded
from sweeper.cli.commands import NAMED, VERBS, Exit, overview
from sweeper.cli.config_errors import explain
from sweeper.errors import BadInput, IsorateError, nearest, one_of

PLAIN = dict.fromkeys(NAMED, "name") | {"verify": "bundles"}
"""Verb -> the key that a plain word after it is the value of."""
_OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w./@:]*=")
_COMPOSE_ONLY = ("--cfg", "-c", "--info", "-i")
_FULL_ERROR = "HYDRA_FULL_ERROR"


@hydra.main(config_path="pkg://conf", config_name="config")
def _application(_: DictConfig) -> None:
    """Called in no multirun: every verb is one, and our Sweeper runs no jobs of its own."""
    raise _another_mode("RUN")


def main() -> None:
    """Entry point of the console command ``isorate``."""
    try:
        if sys.argv[1:] == ["--version"]:
            print(f"isorate {version('isorate')}")
            return
        sys.argv[1:] = arguments(sys.argv[1:])
        completion.prepare()
        OmegaConf.register_resolver("isorate.verbs", overview, replace=True)
        sys.argv[1:] = recorded.arguments(sys.argv[1:])
        _compose_and_run()
    except IsorateError as error:
        _refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(explain(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _compose_and_run() -> None:
    """Let Hydra raise instead of printing and exiting with 1, so that bad input exits with 2."""
    asked = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        plugins.register()
        _application()
    except Exit:
        raise
    except SystemExit as ended:
        sys.exit(2 if ended.code == 1 else ended.code)
    finally:
        if asked is None:
            os.environ.pop(_FULL_ERROR, None)


def _refuse(message: str) -> None:
    print(f"isorate: {message}", file=sys.stderr)
    sys.exit(2)


def arguments(given: Sequence[str]) -> list[str]:
    """Hydra's arguments for what was typed: the verb becomes ``action=``.

    Raises:
        BadInput: the first word is no verb, no override and no flag.
    """
    words = list(given)
    for word in words:
        key, _, mode = word.lstrip("+").partition("=")
        if key == "hydra.mode" and mode != "MULTIRUN":
            raise _another_mode(mode)
    if words in ([], ["help"]):
        return ["--help"]
    if words[0] == "help":
        raise SystemExit(_help(words[1]))
    if words[0] in VERBS:
        words = [f"action={words[0]}", *_named(words[0], words[1:])]
    elif _is_bare(words[0]):
        hint = nearest(words[0], list(VERBS)) or "See isorate --help."
        raise BadInput("verb", words[0], one_of(list(VERBS)) + ".", hint)
    if any(word in _COMPOSE_ONLY for word in words):
        words = [_first_of_sweep(word) for word in words]
    return words


def _another_mode(mode: str) -> BadInput:
    valid = "valid: MULTIRUN, with which every verb works."
    return BadInput("hydra.mode", mode, valid, "Leave it out.")


def _named(verb: str, words: Sequence[str]) -> list[str]:
    """The words after a verb, with its plain ones as the key that they are the value of.

    Raises:
        BadInput: it takes none, or one and there are more.
    """
    before = ["", *words]  # the word after a flag of Hydra's (`--cfg job`) is the flag's
    plain = [
        word
        for flag, word in zip(before, words, strict=False)
        if not (word.startswith("-") or flag.startswith("-") or _OVERRIDE.match(word))
    ]
    if verb not in PLAIN:  # ~key is Hydra's way to delete one
        plain = [word for word in plain if not word.startswith("~")]
    if not plain:
        return list(words)
    if verb not in PLAIN:
        hint = f"Do you mean experiment={plain[0]} or name={plain[0]}?"
        raise BadInput("argument", plain[0], "valid: key=value.", hint)
    key, rest = PLAIN[verb], [word for word in words if word not in plain]
    if key == "bundles":
        return [f"{key}=[{','.join(map(quoted, plain))}]", *rest]
    if len(plain) > 1:
        raise BadInput(key, " ".join(plain), f"`{verb}` takes one.")
    return [f"{key}={quoted(plain[0])}", *rest]


def _first_of_sweep(word: str) -> str:
    """An override whose sweep is replaced by its first value: what the first cell is made of."""
    if "=" not in word or word.startswith("-"):
        return word
    override = OverridesParser.create().parse_overrides([word])[0]
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return word
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _is_bare(word: str) -> bool:
    """A word that is no override and no flag."""
    return "=" not in word and word[:1] not in ("-", "+", "~")


def _help(verb: str) -> int:
    """Print what a verb does and the keys that are its own; the exit status."""
    if verb not in VERBS:
        hint = nearest(verb, list(VERBS))
        raise BadInput("verb", verb, one_of(list(VERBS)) + ".", hint)
    name = " [NAME]" if verb in NAMED else ""
    print(f"isorate {verb}{name} [key=value ...]\n\n  {VERBS[verb]}")
    if name:
        print("\n  NAME is a sweep of the home; without one, status, results, report, sync and")
        print("  logs take the one that was planned last.")
    print("\nEvery key, with its default: isorate --cfg job; what it means: docs/configuration.md")
    return 0


if __name__ == "__main__":
    main()

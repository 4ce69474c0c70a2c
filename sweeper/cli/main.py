"""The console command: Hydra's own command line, with a verb in front of the overrides.

``isorate plan prune.sparsity=0,25`` is ``python -m sweeper action=plan prune.sparsity=0,25``.
Exit status: 0 all cells done, 1 some failed, 2 bad input and nothing started, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sweeper.cli import recorded
from sweeper.cli.commands import VERBS, Exit
from sweeper.cli.config_errors import explain
from sweeper.errors import BadInput, IsorateError, one_of

_COMPOSE_ONLY = ("--cfg", "-c", "--info", "-i")
_FULL_ERROR = "HYDRA_FULL_ERROR"


@hydra.main(config_path="pkg://conf", config_name="config")
def _application(_: DictConfig) -> None:
    """Never called: every verb is a multirun, and our Sweeper runs no jobs of its own."""


def main() -> None:
    """Entry point of the console command ``isorate``."""
    try:
        sys.argv[1:] = arguments(sys.argv[1:])
        _complete_verbs()
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
    if words and words[0] in VERBS:
        words[0] = f"action={words[0]}"
    elif words and "=" not in words[0] and words[0][:1] not in ("-", "+", "~"):
        raise BadInput("verb", words[0], one_of(list(VERBS)) + ".", "See isorate --help.")
    if any(word in _COMPOSE_ONLY for word in words):
        words = [_first_of_sweep(word) for word in words]
    return words


def _first_of_sweep(word: str) -> str:
    """An override whose sweep is replaced by its first value: what the first cell is made of."""
    if "=" not in word or word.startswith("-"):
        return word
    override = OverridesParser.create().parse_overrides([word])[0]
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return word
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _complete_verbs() -> None:
    """Make tab completion aware of the verb, which Hydra would take for a broken override."""
    line = os.environ.get("COMP_LINE")
    if line is None or not any(word.startswith("query=") for word in sys.argv):
        return
    words = line.split()
    typing = words[1:] if not line.endswith(" ") else [*words[1:], ""]
    if len(typing) > 1 and typing[0] in VERBS:
        os.environ["COMP_LINE"] = line.replace(f" {typing[0]} ", " ", 1)
    elif len(typing) == 1 and "=" not in typing[0]:
        print(" ".join(verb for verb in VERBS if verb.startswith(typing[0])))


if __name__ == "__main__":
    main()

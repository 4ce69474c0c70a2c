"""From the configuration and the command line to the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from sweeper import staging
from sweeper.errors import BadInput
from sweeper.grid import Combination, Grid, block_overrides
from sweeper.pins import Pins
from sweeper.plan import Plan

_UNPINNED = Pins()


def plan(
    config: DictConfig,
    loader: ConfigLoaderImpl,
    arguments: Sequence[str],
    pins: Pins = _UNPINNED,
    elsewhere: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
) -> Plan:
    """The plan of everything that the configuration and the overrides name.

    Without ``cells`` and ``grids`` that is the product of the overrides; with them, each
    block is multiplied with the axes of the overrides.

    Raises:
        BadInput: see `staging.build`; also an override of a key that a block sets.
    """
    grid = Grid(loader, config)
    return staging.build(_blocks(config, grid, arguments), pins, elsewhere)


def _blocks(
    config: DictConfig, grid: Grid, arguments: Sequence[str]
) -> Iterator[tuple[Iterable[Combination], bool]]:
    cells, grids = (_maps(config[name]) for name in ("cells", "grids"))
    if not cells and not grids:
        combinations = list(grid.expand(arguments))
        yield combinations, len(combinations) == 1
    for block in grids:
        _check_overlap(config, block, arguments)
        yield grid.expand(arguments, block_overrides(block, swept=True)), False
    for block in cells:
        _check_overlap(config, block, arguments)
        yield grid.expand(arguments, block_overrides(block, swept=False)), True


def _maps(blocks: Any) -> list[Mapping[str, Any]]:
    found = OmegaConf.to_container(blocks, resolve=True)
    assert isinstance(found, list)
    return found


def _check_overlap(config: DictConfig, block: Mapping[str, Any], arguments: Sequence[str]) -> None:
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in block:
            raise BadInput(
                key,
                value,
                f"the sweep {config.name or ''} lists its own cells, and they set {key}.",
                "Leave the override out, or use a grid (experiment=grid) instead.",
            )

"""Hydra's way in: the Sweeper that turns a multirun into one plan instead of many jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from sweeper.cli.request import Request
from sweeper.config import schema as config
from sweeper.config.hydra_internals import ConfigLoaderImpl
from sweeper.errors import BadInput

config.register()


@dataclass
class IsorateSweeperConf:
    """``hydra/sweeper=isorate``; ``params`` are the grid's default axes, as in Hydra's own."""

    _target_: str = "sweeper.cli.hydra_plugin.IsorateSweeper"
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="isorate",
    node=IsorateSweeperConf,
    provider="isorate",
    replace=True,
)


def _chosen(config: DictConfig) -> str:
    """The launcher that was chosen."""
    return str(config.hydra.runtime.choices["hydra/launcher"])


def _check_added(loader: ConfigLoaderImpl, arguments: Sequence[str]) -> None:
    """Refuse keys that are added on the command line and that nothing reads, for every verb."""
    parser = OverridesParser.create(config_loader=loader)
    for override in parser.parse_overrides(list(arguments)):
        name = override.key_or_group
        added = override.is_add() or override.is_force_add()
        group = loader.get_group_options(name, results_filter=ObjectType.CONFIG)
        if added and not group and not name.startswith("hydra.") and not config.is_key(name):
            raise config.unknown_key(name, override.get_value_element_as_str())


class IsorateSweeper(Sweeper):
    """Plans the whole grid at once and carries out the verb that was asked for."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self._params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over, the launcher that the configuration names included."""
        self._context = hydra_context
        self._config = config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not hasattr(self._launcher, "seats"):
            raise BadInput(
                "hydra/launcher",
                _chosen(config),
                "valid: local, slurm.",
                "Another one carries out no plan of stages.",
            )

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out the verb; ends the process with its exit status."""
        from sweeper.cli import commands

        loader = self._context.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        _check_added(loader, arguments)
        commands.perform(
            Request(
                config=self._config,
                loader=loader,
                launcher=self._launcher,
                arguments=self._overrides(arguments),
            )
        )

    def _overrides(self, arguments: Sequence[str]) -> list[str]:
        """Default axes of the experiment, then the command line, which wins."""
        return [f"{key}={value}" for key, value in self._params.items()] + list(arguments)

"""Compose the project's configuration as the command line does, without a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import conf
from sweeper.cli import plugins
from sweeper.config.grid import ConfigLoaderImpl


@contextmanager
def composed(
    overrides: list[str], config_dir: Path | None = None
) -> Iterator[tuple[DictConfig, ConfigLoaderImpl]]:
    """The multirun configuration and its loader, as our Sweeper gets them."""
    plugins.register()
    directory = config_dir or Path(conf.__file__).parent
    with initialize_config_dir(str(directory)):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        master = hydra.compose_config("config", overrides, run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(master)
        loader = hydra.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        yield master, loader

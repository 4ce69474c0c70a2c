"""The classes that Hydra carries out our verbs with.

They are handed to Hydra in our own process alone. As entry points every other Hydra application
of the environment would import them, and so our packages in the place of its own.
"""

from __future__ import annotations

from importlib import import_module

from hydra.core.plugins import Plugins

CLASSES = (
    "sweeper.cli.hydra_plugin.IsorateSweeper",
    "launchers.local.launcher.LocalLauncher",
    "launchers.slurm.launcher.SlurmLauncher",
)


def register() -> None:
    """Make Hydra know them."""
    known = Plugins.instance()
    for name in CLASSES:
        module, _, plugin = name.rpartition(".")
        known.register(getattr(import_module(module), plugin))

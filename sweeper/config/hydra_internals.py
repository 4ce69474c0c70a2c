"""What is used of Hydra and OmegaConf that they do not call public, in one place.

A test names the versions that these were read in: with other ones it says what to look at again.
"""

from __future__ import annotations

from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, Node

READ_IN = {"hydra-core": "1.4.0rc3", "omegaconf": "2.4.1rc1"}
"""Distribution -> the version whose source was read."""

__all__ = ["READ_IN", "ConfigLoaderImpl", "node_of", "set_value", "text_of", "value_of"]


def text_of(value: Any) -> str:
    """A value of an override as Hydra's grammar reads it again."""
    return str(Override._get_value_element_as_str(value))


def node_of(section: Any, name: str) -> Node | None:
    """The node of a key, its value not resolved; None where there is none."""
    return section._get_node(name) if isinstance(section, DictConfig) else None


def value_of(node: Node) -> Any:
    """What a node holds, interpolations as they are written."""
    return node._value()


def set_value(node: Node, value: Any) -> None:
    """Give a node a value, checked against its type, in a configuration that is read-only."""
    node._set_value(value)

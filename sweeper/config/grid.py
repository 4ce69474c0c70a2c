"""Expand a grid: what Hydra's own `compose` would give for every combination, only faster.

Hydra composes the configuration anew for each point of a sweep (about 0.1 s each).
Here it composes once for each combination of those axes that can change the shape of
the configuration (config groups, ``+``, ``~``, dictionaries); the remaining axes set one
plain value each, which Hydra applies last anyway, so they are applied to the composed
configuration in place. Sections without interpolation depend only on the axes below
them, so each distinct section is made once and shared by all of its cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, Node, OmegaConf

from sweeper.config import hydra_internals
from sweeper.config.hydra_internals import ConfigLoaderImpl
from sweeper.config.schema import SECTIONS, unknown, unknown_key
from sweeper.errors import BadInput

Section = dict[str, Any]


@dataclass(frozen=True)
class Combination:
    """One point of a grid.

    Attributes:
        overrides: the values of the swept axes, as a person would type them.
        sections: section name -> resolved content. Equal sections of one expansion are
            the same object, so that what is derived from them can be cached by identity.
    """

    overrides: tuple[str, ...]
    sections: Mapping[str, Section]


@dataclass(frozen=True)
class Axis:
    """One swept key and its values, as parsed overrides without sweeps."""

    key: str
    values: tuple[Override, ...]

    @property
    def section(self) -> str:
        """The top-level section that the axis changes."""
        return self.key.lstrip("+~").split("@")[0].split(".")[0].split("/")[0]

    @property
    def group(self) -> str:
        """The config group that the axis would choose from, if it is one."""
        return self.values[0].key_or_group

    def is_value(self, composed: DictConfig) -> bool:
        """Whether every value only replaces one plain value of ``composed``."""
        return all(
            not (v.is_add() or v.is_force_add() or v.is_delete() or v.is_list_extend())
            and v.package is None
            and not isinstance(v.value(), dict)
            and not OmegaConf.is_config(OmegaConf.select(composed, v.key_or_group))
            for v in self.values
        )


class Grid:
    """Expands overrides against one composed configuration.

    Args:
        loader: Hydra's config loader.
        master: the configuration that Hydra composed for the sweep.
    """

    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def expand(self, overrides: Sequence[str], block: Sequence[str] = ()) -> Iterator[Combination]:
        """Every combination of ``overrides`` and ``block`` in Hydra's own order.

        A later override of a key replaces an earlier one, as in Hydra's BasicSweeper.
        Blocks that share their overrides share Hydra's compositions too.

        Raises:
            BadInput: a swept key that is no axis of a grid, or a sweep without values.
        """
        parser = OverridesParser.create(config_loader=self._loader)
        axes = _axes(parser, [*overrides, *block])
        for axis in axes:
            _check_axis(axis)
        own = _axes(parser, block)
        combinations = sorted(
            self._expand(axes, {axis.key for axis in own}), key=lambda ranked: ranked[0]
        )
        yield from (combination for _, combination in combinations)

    def _expand(
        self, axes: list[Axis], own: AbstractSet[str]
    ) -> Iterator[tuple[tuple[int, ...], Combination]]:
        """Each combination with its place in Hydra's order: the first axis varies slowest."""
        value_axes, shape_axes = _split(axes, own, self._master, self._is_group)
        order = [(shape_axes + value_axes).index(axis) for axis in axes]
        texts = [[_text(value) for value in axis.values] for axis in axes]
        swept = [i for i, axis in enumerate(axes) if len(axis.values) > 1]
        for shape in itertools.product(*(range(len(axis.values)) for axis in shape_axes)):
            composed = self._compose(
                tuple(_text(a.values[i]) for a, i in zip(shape_axes, shape, strict=True))
            )
            for values, sections in _points(composed, value_axes):
                chosen = shape + values
                place = tuple(chosen[i] for i in order)
                yield place, Combination(tuple(texts[i][place[i]] for i in swept), sections)

    def _compose(self, overrides: tuple[str, ...]) -> DictConfig:
        if overrides not in self._composed:
            made = self._loader.load_sweep_config(self._master, list(overrides))
            _check_keys(made)
            self._composed[overrides] = made
        return self._composed[overrides]

    def _is_group(self, name: str) -> bool:
        return bool(self._loader.get_group_options(name, results_filter=ObjectType.CONFIG))


def block_overrides(block: Mapping[str, Any], *, swept: bool) -> list[str]:
    """A map of keys to values (of ``cells`` or ``grids``) as override strings.

    Args:
        block: dotted keys to values; a list or a string with commas sweeps in a grid.
        swept: whether values are in Hydra's sweep syntax (grids) or plain (cells).
    """
    return [f"{key}={_value_text(value, swept)}" for key, value in block.items()]


def _value_text(value: Any, swept: bool) -> str:
    if swept and isinstance(value, list | tuple):
        return ",".join(_value_text(v, False) for v in value)
    if isinstance(value, str):
        return value if swept else QuotedString(value, Quote.single).with_quotes()
    return hydra_internals.text_of(value)


def _axes(parser: OverridesParser, overrides: Sequence[str]) -> list[Axis]:
    by_key: dict[str, Axis] = {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            by_key[key] = Axis(key, (override,))
            continue
        if not override.is_discrete_sweep():
            raise BadInput(key, override.input_line, "an interval has no values.", "List them.")
        values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        if not values:
            raise BadInput(key, override.input_line, "this sweep has no values.")
        by_key[key] = Axis(key, tuple(parser.parse_overrides(list(values))))
    return list(by_key.values())


def _check_keys(composed: DictConfig) -> None:
    """Refuse keys that were added (`+`, a file of one's own) and that nothing reads."""
    content = OmegaConf.to_container(composed, resolve=False, throw_on_missing=False)
    assert isinstance(content, dict)
    own = {str(name): value for name, value in content.items() if name != "hydra"}
    for name in unknown(own):
        raise unknown_key(name, str(OmegaConf.select(composed, name)))


def _check_axis(axis: Axis) -> None:
    if len(axis.values) > 1 and axis.section not in SECTIONS:
        raise BadInput(
            axis.key,
            ",".join(v.get_value_element_as_str() for v in axis.values),
            f"axes of a grid are keys of {', '.join(SECTIONS)}.",
            "Run one command for each value.",
        )


def _split(
    axes: Sequence[Axis], own: AbstractSet[str], master: DictConfig, is_group: Callable[[str], bool]
) -> tuple[list[Axis], list[Axis]]:
    """(axes that set one plain value each, axes that can change the configuration's shape).

    An axis with a single value needs the fast path only where it is a block's ``own``. Where
    some override adds, deletes or merges keys, the order of overrides matters, so that
    section goes through Hydra whole.
    """
    odd = {a.section for a in axes if not (is_group(a.group) or a.is_value(master))}
    values = [
        a
        for a in axes
        if (len(a.values) > 1 or a.key in own)
        and a.section not in odd
        and not is_group(a.group)
        and a.is_value(master)
    ]
    return values, [a for a in axes if a not in values]


def _points(
    composed: DictConfig, axes: Sequence[Axis]
) -> Iterator[tuple[tuple[int, ...], Mapping[str, Section]]]:
    """Every combination of value axes by index, with the resolved sections that it gives."""
    makers = [_SectionMaker(name, composed, axes) for name in SECTIONS]
    nodes = [node for node in (_node(composed, axis) for axis in axes) if node]
    before = [(node, hydra_internals.value_of(node)) for node in nodes]
    for choice in itertools.product(*(range(len(axis.values)) for axis in axes)):
        yield choice, {maker.name: maker.make(choice) for maker in makers}
    for node, value in before:
        hydra_internals.set_value(node, value)


def _node(composed: DictConfig, axis: Axis) -> Node | None:
    """The node that a value axis sets."""
    *parents, name = axis.key.split(".")
    section = OmegaConf.select(composed, ".".join(parents))
    return hydra_internals.node_of(section, name)


class _SectionMaker:
    """One section as a function of the axes it depends on, remembered."""

    def __init__(self, name: str, composed: DictConfig, axes: Sequence[Axis]) -> None:
        self.name = name
        self._composed = composed
        self._axes = axes
        raw = str(OmegaConf.to_container(composed[name], resolve=False))
        below = [axis for axis in axes if axis.section == name]
        # Of the values themselves: as text, Hydra writes an interpolation as $\{...\}.
        closed = "${" not in raw + "".join(str(v.value()) for a in below for v in a.values)
        self._depends = tuple(i for i, a in enumerate(axes) if not closed or a in below)
        self._pick = itemgetter(*self._depends) if self._depends else lambda choice: ()
        self._made: dict[Any, Section] = {}

    def make(self, choice: tuple[int, ...]) -> Section:
        key = self._pick(choice)
        if key not in self._made:
            overrides = [self._axes[i].values[choice[i]] for i in self._depends]
            ConfigLoaderImpl._apply_overrides_to_config(overrides, self._composed)
            section = OmegaConf.to_container(
                self._composed[self.name], resolve=True, throw_on_missing=False
            )
            assert isinstance(section, dict)
            self._made[key] = {str(k): v for k, v in section.items()}
        return self._made[key]


def _text(override: Override) -> str:
    """``key=value``, as it could be typed."""
    key = override.get_key_element()
    if override.is_delete() and override.value_type is None:
        return key
    return f"{key}={override.get_value_element_as_str()}"

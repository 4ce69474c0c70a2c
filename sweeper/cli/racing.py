"""A sweep whose cells race: begun once, carried out look by look, told in words."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.planning import retention
from sweeper.planning.race import record, refusals, state
from sweeper.planning.race.record import Begun
from sweeper.planning.race.state import State
from sweeper.planning.record import CellRecord, own_keys
from sweeper.planning.sweep import plan_json
from sweeper.results import outcomes
from sweeper.results.race import advance, telling
from sweeper.store.spec import Spec

log = logging.getLogger(__name__)


def asked_for(request: Request) -> bool:
    """Whether the configuration asks for a race."""
    return request.config.tasks.race is not None


def settings(request: Request) -> dict[str, Any]:
    """How the cells are to be raced; checked.

    Raises:
        BadInput: a value that no race can have, or a race that is an axis.
    """
    from analysis.race.settings import BadSettings, RaceSettings

    refusals.check_axes(request.arguments, _blocks(request))
    given = OmegaConf.to_container(request.config.tasks.race, resolve=True)
    assert isinstance(given, dict)
    try:
        return RaceSettings(**{str(name): value for name, value in given.items()}).to_json()
    except BadSettings as refused:
        raise BadInput(f"tasks.race.{refused.key}", refused.value, f"{refused.valid}.") from None


def _blocks(request: Request) -> list[Mapping[str, Any]]:
    found = [OmegaConf.to_container(request.config[name]) for name in ("cells", "grids")]
    return [block for blocks in found if isinstance(blocks, list) for block in blocks]


def check(request: Request) -> dict[str, Any]:
    """The settings of a race that can be begun, or gone on with; touches nothing.

    Raises:
        BadInput: see `refusals`; or the race of this sweep has begun with other settings or cells.
    """
    wanted = settings(request)
    refusals.check(request.plan, request.todo)
    if wanted["margin"] is not None:
        _check_margin(request, wanted)
    if (known := record.begun(request.sweep.path)) is not None:
        _check_same(request, known, wanted)
    return wanted


def _check_margin(request: Request, wanted: Mapping[str, Any]) -> None:
    from analysis.race.settings import RaceSettings
    from sweeper.results.race import expecting, margins

    field, sized = expecting.field_of(request.plan, request.store, state.read(request.sweep.path))
    if sized:
        margins.check(RaceSettings.from_json(wanted), field)


def _check_same(request: Request, known: Begun, wanted: Mapping[str, Any]) -> None:
    anew = "name=ANOTHER begins another race, which takes over every answer that is there."
    for name, value in wanted.items():
        if (before := known["settings"][name]) != value:
            raise BadInput(
                f"tasks.race.{name}",
                value,
                f"the race of {request.sweep.name} has begun with {before}, and rules that change "
                "while answers come in control no error.",
                anew,
            )
    before = {cell["key"]: cell["label"] for cell in known["base"]["cells"]}
    now = {cell.key: cell.label for cell in request.plan.cells}
    if before.keys() != now.keys():
        new = [label for key, label in now.items() if key not in before]
        gone = [label for key, label in before.items() if key not in now]
        raise BadInput(
            "name",
            request.sweep.name,
            "its race has begun with other cells or tasks: "
            + "; ".join(
                f"{word} {', '.join(labels)}"
                for word, labels in (("new or changed here:", new), ("not here:", gone))
                if labels
            )
            + ".",
            anew,
        )


def expectation(request: Request) -> dict[str, Any]:
    """What the race is expected to ask and to take, as JSON data; touches nothing.

    Raises:
        BadInput: see `check`; or a margin that all documents cannot show.
    """
    from analysis.race.settings import RaceSettings
    from sweeper.results.race import expecting

    spent = request.cost
    found = expecting.expected(
        request.plan,
        RaceSettings.from_json(check(request)),
        request.store,
        state.read(request.sweep.path),
        {key: one.seconds for key, one in spent.estimates.items()},
    )
    return expecting.document(found, spent.device, request.launcher.gpus("evaluate"))


def expected(request: Request) -> list[str]:
    """The same for people: what the race is expected to ask, and where it stands."""
    from sweeper.results.race import expecting

    now = state.read(request.sweep.path)
    told = expecting.text(expectation(request))
    if now is None or not now.looks:
        return [told]
    cells = outcomes.collect(request.sweep.load(), request.store)
    return [told, telling.text(now, cells)]


def begin(request: Request, wanted: dict[str, Any]) -> State:
    """Write down how the race is run, unless it was; decide what can be decided.

    Args:
        request: the command.
        wanted: the settings, as `check` found them.

    Raises:
        BadInput: it was begun otherwise a moment ago.
    """
    base = plan_json(request.plan)
    known = record.begin(
        request.sweep.path,
        {
            "settings": wanted,
            "base": base,
            "overrides": list(request.arguments),
            "checkpoints": str(request.config.checkpoints),
        },
    )
    _check_same(request, known, wanted)
    return advance.advance(request.sweep, request.store)


def carry_out(request: Request, now: State) -> tuple[Any, dict[str, Spec]]:
    """Carry out the look under way and, on this machine, every one that follows it.

    On a cluster the last job of a look decides it and submits the next one.

    Returns:
        The launcher's outcome of the last look that was carried out, and its stages by key.
    """
    while True:
        if now.looks:
            log.info("%s", telling.decided(now))
        specs = {spec["key"]: spec for spec in _specs(request, now)}
        outcome = _carried(request, now, specs)
        if request.launcher.drops_at_end:
            return outcome, specs
        later = advance.advance(request.sweep, request.store)
        drop(request, now)
        if later.over and later.number != now.number:
            log.info("%s", telling.decided(later))
        if later.over or later.number == now.number:
            return outcome, specs
        now = later


def _specs(request: Request, now: State) -> list[Spec]:
    specs = advance.specs(now, request.store)
    for spec in specs:
        if spec["key"] in request.cost.estimates:
            spec["estimate_s"] = round(request.cost.estimates[spec["key"]].seconds, 2)
    return specs


def _carried(request: Request, now: State, specs: Mapping[str, Spec]) -> Any:
    cells = {cell["key"]: _lineage(cell, specs) for cell in now.plan["cells"]}
    dropper = retention.Dropper(
        request.store, request.home, list(specs.values()), now.begun["checkpoints"]
    )
    return request.launcher.carry_out(
        list(specs.values()),
        request.store,
        observer=request.launcher.observer(request.sweep.name, cells),
        logs=request.sweep.logs,
        on_done=dropper,
    )


def drop(request: Request, now: State) -> None:
    """Drop the checkpoints of cells that are asked no more, as far as the policy keeps none."""
    stages = retention.planned(request.home)
    for spec in retention.unread(request.store, stages, now.begun["checkpoints"]):
        request.store.drop_bulk(spec)


def _lineage(cell: CellRecord, specs: Mapping[str, Spec]) -> set[str]:
    """Keys of the stages that a cell rests on."""
    queue = [specs[key] for key in own_keys(cell)]
    found: set[str] = set()
    while queue:
        spec = queue.pop()
        if spec["key"] not in found:
            found.add(spec["key"])
            queue += spec["parents"].values()
    return found


def keys(request: Request) -> set[str]:
    """The cells of the look under way."""
    now = state.read(request.sweep.path)
    return {cell["key"] for cell in now.plan["cells"]} if now else set()

"""A race in words and as JSON data: who is left, which look, what was asked, what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.race.schedule import Leaf, Look, looks
from sweeper.errors import several
from sweeper.planning.race import state
from sweeper.planning.race.state import State
from sweeper.results import formatting
from sweeper.results.outcomes import CellOutcome

Json = dict[str, Any]
_NAMES = {"sr2": "Sr2", "sr1": "Sr1", "log_likelihood": "log-likelihood"}


def document(now: State, outcomes: Sequence[CellOutcome] = ()) -> Json:
    """A race as JSON data; cells by their labels, with the model where there are several."""
    names = labels(now)
    decided = now.looks[-1].get("decision") if now.looks else None
    return {
        "settings": dict(now.begun["settings"]),
        "look": now.number,
        "looks": len(_schedule(now)),
        "per_task": _per_task(now),
        "over": now.over,
        "racing": [names[cell] for cell in names if cell in now.racing],
        "open": len(_open(now, outcomes)),
        "documents": documents(now),
        "groups": [_group(one, names) for one in (decided or {}).get("groups", ())],
    }


def documents(now: State) -> Json:
    """Documents asked so far, those of the look under way included, and those without a race.

    A document counts once for each cell that is asked it; dense cells count in both.
    """
    if not now.looks:
        return {"race": 0, "full": 0, "share": None}
    sizes = now.sizes
    raced = [cell for cell in now.cells if cell["model"] in sizes]
    full = sum(sum(sizes[cell["model"]].values()) for cell in raced)
    asked = sum(
        size if limit is None else limit
        for cell in raced
        for task, size in sizes[cell["model"]].items()
        for limit in [now.limits.get(cell["key"], {}).get(task, 0)]
    )
    return {"race": asked, "full": full, "share": asked / full if full else None}


def labels(now: State) -> dict[str, str]:
    """Key of each cell of the race -> what people call it."""
    several_models = len({cell["model"] for cell in now.cells}) > 1
    return {
        cell["key"]: f"{cell['model']}: {cell['label']}" if several_models else str(cell["label"])
        for cell in now.cells
        if not state.is_dense(cell)
    }


def text(now: State, outcomes: Sequence[CellOutcome] = ()) -> str:
    """A race for a person: a line on where it is, a table of its groups, what comes next."""
    told = document(now, outcomes)
    parts = [_head(told)]
    if told["groups"]:
        head = ["group", "state", "left", "beaten", "why"]
        parts.append(formatting.table(head, [_row(one) for one in told["groups"]]))
    parts.append(_next(told))
    return "\n".join(parts)


def decided(now: State) -> str:
    """What the latest decision was, in one line."""
    told = document(now)
    states = [one["state"] for one in told["groups"]]
    left = sum(one == "racing" for one in states)
    what = f"race: look {now.number - 1} is decided; {left} of {len(states)} groups go on"
    if now.over:
        return f"{what}: the race is over, {_asked(told)}"
    if now.number == 1:
        return f"race: the dense cell has answered all; {len(told['racing'])} cells are raced"
    return (
        f"{what}, {len(told['racing'])} cells are asked {told['per_task']} documents of each task"
    )


def _head(told: Json) -> str:
    own = told["settings"]
    rule = f"rule {own['rule']}, alpha {own['alpha']:g} for each {own['family']}"
    by = f"by {_NAMES.get(own['by'], own['by'])}"
    if told["over"]:
        return f"Race ({rule}, {by}): over after look {told['look'] - 1}; {_asked(told)}"
    if not told["look"]:
        return f"Race ({rule}, {by}): the dense cell is asked all documents first"
    return (
        f"Race ({rule}, {by}): look {told['look']} of at most {told['looks']}, up to "
        f"{told['per_task']} documents of each task; {len(told['racing'])} cells are asked; "
        f"{_asked(told)}"
    )


def _asked(told: Json) -> str:
    found = told["documents"]
    if not found["full"]:
        return "no documents yet"
    return f"{found['race']} of {found['full']} documents ({100 * found['share']:.0f} %)"


def _next(told: Json) -> str:
    if told["over"]:
        return "Without tasks/race, the same command asks the rest."
    what = "what the first look asks" if not told["look"] else f"look {told['look']}"
    if not told["open"]:
        return f"Next: {what} can be decided; `isorate run`, or the last job of a cluster, does so."
    return f"Next: {what} is decided when {formatting.count(told['open'], 'cell')} more are done"


def _row(one: Json) -> tuple[str, ...]:
    beaten = [f"{loser} (by {several(by, 2)})" for loser, by in one["beaten"].items()]
    out = [f"{cell} ({why})" for cell, why in one["dropped"].items()]
    return (
        one["name"],
        one["state"],
        several(one["survivors"], 4) or "none",
        several(beaten, 3) or "none",
        "; ".join([one["why"], *out]),
    )


def _group(one: Mapping[str, Any], names: Mapping[str, str]) -> Json:
    return {
        "name": one["name"],
        "model": one["model"],
        "state": one["state"],
        "look": one["look"],
        "why": one["why"],
        "survivors": [names[cell] for cell in one["survivors"]],
        "beaten": {names[cell]: [names[by] for by in won] for cell, won in one["beaten"].items()},
        "dropped": {names[cell]: why for cell, why in one["dropped"].items()},
    }


def _open(now: State, outcomes: Sequence[CellOutcome]) -> list[str]:
    """Cells of the look that are not done."""
    return [one.key for one in outcomes if one.status not in ("done", "failed")]


def _schedule(now: State) -> tuple[Look, ...]:
    """The longest schedule of the models."""
    if not now.looks:
        return ()
    first = int(now.begun["settings"]["first_look"])
    found = [
        looks([Leaf(**leaf) for leaf in one["leaves"]], first)
        for one in now.looks[0]["field"]["contests"].values()
    ]
    return max(found, key=len, default=())


def _per_task(now: State) -> int | None:
    schedule = _schedule(now)
    return (
        schedule[min(now.number, len(schedule)) - 1].per_task if schedule and now.number else None
    )

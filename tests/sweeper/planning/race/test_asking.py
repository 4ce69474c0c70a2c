"""One look of a race as a plan: other limits, the same checkpoints, the families of the answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.errors import IsorateError
from sweeper.planning.race import asking, state
from sweeper.planning.sweep import merge
from tests import race_rig

Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("plan")


@pytest.fixture(scope="module")
def base(folder: Any) -> Json:
    """A task in one stage has three parts."""
    return race_rig.base(race_rig.plan(folder, "tasks.parts=3"))


def all_asked(base: Json, limit: int | None) -> dict[str, dict[str, int | None]]:
    return {cell["key"]: dict.fromkeys(state.whole(cell), limit) for cell in base["cells"]}


def test_all_documents_are_the_plan_without_a_race(base: Json) -> None:
    made = asking.asked(base, all_asked(base, None), {}, {})
    assert {cell["key"] for cell in made["cells"]} == {cell["key"] for cell in base["cells"]}
    assert made["stages"] == base["stages"]


def test_a_look_shares_checkpoints_and_families_with_the_plan(base: Json) -> None:
    made = asking.asked(base, all_asked(base, 128), {}, {})
    kinds = {key: spec["kind"] for key, spec in base["stages"].items()}
    kept = {key for key, kind in kinds.items() if kind != "evaluate"}
    assert kept <= made["stages"].keys()
    asked = [spec for spec in made["stages"].values() if spec["kind"] == "evaluate"]
    assert {spec["params"]["limit"] for spec in asked} == {128}
    families = {spec["family"] for spec in base["stages"].values() if spec["kind"] == "evaluate"}
    assert {spec["family"] for spec in asked} == families


def test_what_a_race_asks_is_what_a_plan_with_that_limit_asks(folder: Any, base: Json) -> None:
    """So that whoever asks by hand finds what a race has asked, and the other way round."""
    by_hand = race_rig.base(race_rig.plan(folder, "tasks.parts=3", "tasks.limit=128"))
    made = asking.asked(base, all_asked(base, 128), {}, {})
    assert made["stages"].keys() == by_hand["stages"].keys()
    assert {cell["key"] for cell in made["cells"]} == {cell["key"] for cell in by_hand["cells"]}


@settings(max_examples=25, deadline=None)
@given(limit=st.integers(2, 1000))
def test_there_are_no_more_parts_than_blocks(base: Json, limit: int) -> None:
    made = asking.asked(base, all_asked(base, limit), {}, {})
    cell = made["cells"][0]
    for key in cell["stages"]["evaluate"].values():
        parts = [r for r in made["stages"][key]["parents"] if r.startswith("part ")]
        blocks = -(-limit // 64)
        assert len(parts) == (min(3, blocks) if blocks > 1 else 0)


def test_a_cell_that_is_not_asked_is_made_and_measured_alone(base: Json) -> None:
    made = asking.asked(base, state.beginning(base["cells"]), {}, {})
    dense, *others = made["cells"]
    assert set(dense["stages"]["evaluate"]) == {"demo_agreement", "demo_endings"}
    assert all(cell["stages"]["evaluate"] == {} for cell in others)
    assert all(cell["stages"]["measure"] in made["stages"] for cell in others)


def test_looks_of_one_sweep_are_one_cell_each_with_the_newest(base: Json) -> None:
    """Cells of different looks stand side by side: the newest plan names them all."""
    first, beaten = all_asked(base, 128), base["cells"][-1]["key"]
    second = {**all_asked(base, 256), beaten: first[beaten]}
    plans = [
        {
            **asking.asked(base, limits, {}, {}),
            "name": "s",
            "created": f"2026-01-01T00:00:0{n}",
            "overrides": [],
        }
        for n, limits in enumerate((first, second))
    ]
    merged = merge(plans)
    limits = {
        cell["raced"]: {
            merged["stages"][key]["params"]["limit"] for key in cell["stages"]["evaluate"].values()
        }
        for cell in merged["cells"]
    }
    assert limits == {key: {128 if key == beaten else 256} for key in first}


def test_the_work_of_a_look_is_that_of_its_new_documents(base: Json) -> None:
    sizes = {"tiny": {"demo_agreement": 1000, "demo_endings": 1000}}
    first, second = all_asked(base, 200), all_asked(base, 500)
    cell = base["cells"][-1]

    def work(limits: Any, before: Any) -> float:
        made = asking.asked(base, limits, before, sizes)
        named = next(one for one in made["cells"] if one["raced"] == cell["key"])
        key = named["stages"]["evaluate"]["demo_agreement"]
        spec = made["stages"][key]
        parts = [p for role, p in spec["parents"].items() if role.startswith("part ")]
        return sum(float(made["stages"][part]["work"]) for part in parts)

    assert work(second, first) == pytest.approx(1.5 * work(first, {}))


def test_the_plan_of_another_version_is_refused(base: Json) -> None:
    changed = copy.deepcopy(base)
    key = next(k for k, s in changed["stages"].items() if s["kind"] == "prune")
    changed["stages"][key]["library"] = {"llmcompressor": "0.0.1"}
    with pytest.raises(IsorateError, match="begun by another version of Isorate"):
        asking.asked(changed, all_asked(base, 128), {}, {})

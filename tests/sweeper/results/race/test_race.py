"""A race from its first record to its last: who is asked what, once, whatever is killed."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analysis.data.panel import panels
from analysis.data.task_groups import pooled
from analysis.report.race import race_sentences, race_table
from sweeper.planning import retention
from sweeper.planning.race import record
from sweeper.planning.race.state import State
from sweeper.results import outcomes, tables
from sweeper.results.bundle import archive, making, records, verify
from sweeper.results.race import deciding
from sweeper.results.race.reported import with_race
from sweeper.store import files
from sweeper.worker.runner import run_stage
from tests import race_rig
from tests.race_rig import BENCH, RaceRig
from tests.stubs import race as stub

Json = dict[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Json:
    return race_rig.base(race_rig.plan(tmp_path_factory.mktemp("plan")))


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "journal"
    monkeypatch.setenv("RACE_JOURNAL", str(folder))
    return folder


def asked(journal: Path) -> dict[str, int]:
    """Checkpoint and task -> documents that were ever asked."""
    return {path.stem: path.stat().st_size for path in journal.iterdir()}


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, base: Json
) -> tuple[RaceRig, dict[str, int], list[set[str]]]:
    """A race that ran to its end; what was asked; the checkpoints that each look left."""
    root = tmp_path_factory.mktemp("whole")
    rig, kept = RaceRig(root, base), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RACE_JOURNAL", str(root / "journal"))
        now = rig.advance()
        while not now.over:
            rig.work()
            now = rig.advance()
            stages = retention.planned(rig.store.home)
            for spec in retention.unread(rig.store, stages, "drop"):
                rig.store.drop_bulk(spec)
            held = [s for s in rig.now.begun["base"]["stages"].values() if rig.store.has_bulk(s)]
            made = [spec for spec in held if spec["kind"] in ("prune", "quantize")]
            kept.append({str(spec["label"]) for spec in made})
    return rig, asked(root / "journal"), kept


def test_beaten_cells_are_asked_no_more_and_no_document_twice(whole: Any) -> None:
    rig, counts, _ = whole
    decision = rig.now.looks[-1]["decision"]
    lost = {cell for group in decision["groups"] for cell in group["beaten"]}
    assert {"2:4", "2:4 + 8bit"} <= rig.labels(lost)
    assert counts["2:4-16-demo_endings"] == 128
    assert counts["-16-demo_agreement"] == stub.documents()
    assert all(count <= stub.documents() for count in counts.values())
    assert sum(counts.values()) == _documents(rig)


def _documents(rig: RaceRig) -> int:
    """As the records say, each cell's last look."""
    now = rig.now
    return sum(
        limit or stub.documents() for tasks in now.limits.values() for limit in tasks.values()
    )


def test_a_report_has_the_race_and_ranks_nobody_by_more_documents(whole: Any) -> None:
    rig, _, _ = whole
    found = outcomes.collect(rig.sweep.load(), rig.store)
    results = with_race(tables.results(found), rig.sweep)
    (one,) = panels(pooled(results))
    done = (one.cells["status"] == "done").to_numpy()
    assert one.n[done].min() == one.n[done].max() == 128  # the first look, which all answered
    rows = race_table(results).rows
    assert {"2:4", "2:4 + 8bit"} <= set(rows["label"])
    assert rows["verdict"].str.startswith("beaten by").any()
    said = race_sentences(results)
    assert len(said) == rows["group"].nunique()


def test_checkpoints_stay_as_long_as_their_cells_race(whole: Any) -> None:
    _, _, kept = whole
    assert {"50%", "2:4", "8bit", "50% + 8bit", "2:4 + 8bit"} <= kept[0], "look 0"
    assert "2:4" not in kept[1]
    assert "50%" in kept[1]
    assert kept[-1] == set(), "nobody reads any more"


def test_the_first_look_is_proportional_and_the_last_is_the_plan_without_a_race(whole: Any) -> None:
    rig, _, _ = whole
    first, last = rig.now.looks[0]["asks"], rig.now.looks[-1]["asks"]
    dense, *others = rig.now.cells
    assert set(first[dense["key"]].values()) == {None}
    assert all(set(first[cell["key"]].values()) == {128} for cell in others)
    full = {key for key, tasks in last.items() if set(tasks.values()) == {None}}
    keys = {cell["key"] for cell in rig.now.plan["cells"]} & {cell["key"] for cell in rig.now.cells}
    assert keys == full, "a cell that was asked all is the very cell of the plan without a race"


def test_what_was_decided_follows_from_the_documents_that_are_there_now(whole: Any) -> None:
    """Also for the earlier looks: the last one's documents begin with theirs."""
    rig, _, _ = whole
    found = outcomes.collect(rig.sweep.load(), rig.store)
    results = tables.results(deciding.steady(found))
    now = rig.now
    for number, kept in enumerate(now.looks):
        before = type(now)(begun=now.begun, looks=now.looks[:number])
        made = deciding.followed(before, results, kept.get("dropped"))
        again = json.loads(json.dumps(made))
        assert {name: kept[name] for name in again} == again


def test_killed_anywhere_it_goes_on_where_it_was(
    base: Json, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three stages at a time, everything forgotten in between."""
    monkeypatch.setenv("RACE_DOCUMENTS", "200")
    rig = RaceRig(tmp_path, base)
    for _ in range(60):
        now = RaceRig(tmp_path, base).advance()
        if now.over:
            break
        assert RaceRig(tmp_path, base).work(most=3)
    assert now.over
    assert sum(asked(journal).values()) == _documents(rig)


def test_a_look_is_decided_when_its_last_answer_is_there_and_not_before(
    base: Json, tmp_path: Path
) -> None:
    rig = RaceRig(tmp_path, base)
    rig.advance()
    rig.work()
    assert rig.advance().number == 1
    todo = [spec for spec in rig.stages() if not rig.store.is_done(spec)]
    for spec in todo[:-1]:
        run_stage(spec, rig.store, BENCH)
        assert rig.advance().number == 1
    run_stage(todo[-1], rig.store, BENCH)
    assert rig.advance().number == 2


def test_two_front_ends_decide_a_look_once(
    base: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have come to the decision before either writes it."""
    rig = RaceRig(tmp_path, base)
    rig.advance()
    rig.work()
    rig.advance()
    rig.work()
    together, decided = threading.Barrier(2, timeout=60), deciding.decided
    said: list[Json] = []

    def at_once(now: State, found: Any) -> Json:
        said.append(made := decided(now, found) | {"by": threading.get_ident()})
        together.wait()
        return made

    monkeypatch.setattr(deciding, "decided", at_once)
    with ThreadPoolExecutor(2) as front_ends:
        each = [front_ends.submit(rig.advance) for _ in range(2)]
        one, other = (future.result() for future in each)
    assert len(said) == 2
    assert one.looks == other.looks == rig.now.looks
    assert {k: said[0][k] for k in said[0] if k != "by"} == {
        k: said[1][k] for k in said[1] if k != "by"
    }
    assert len(list((rig.sweep.path / record.FOLDER).iterdir())) == 3, "begun and two looks"
    plans = [json.loads(path.read_text()) for path in rig.sweep.plans]
    assert [plan["look"] for plan in plans] == [0, 1, 2]


def test_of_two_records_of_a_look_the_first_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are written, then both are put in their place."""
    together, write = threading.Barrier(2, timeout=60), files.write_json

    def at_once(path: Path, value: Any) -> None:
        write(path, value)
        together.wait()

    monkeypatch.setattr(files, "write_json", at_once)
    with ThreadPoolExecutor(2) as writers:
        values = [{"by": number} for number in range(2)]
        first = list(writers.map(lambda v: files.write_once(tmp_path / "look.json", v), values))
    assert sorted(first) == [False, True]
    assert files.read_json(tmp_path / "look.json") == values[first.index(True)]
    assert [path.name for path in tmp_path.iterdir()] == ["look.json"]


def test_one_that_is_behind_makes_no_earlier_look_the_newest_plan(
    base: Json, tmp_path: Path
) -> None:
    rig = RaceRig(tmp_path, base)
    behind = rig.advance()
    rig.work()
    ahead = rig.advance()
    rig.sweep.record_look(behind.plan, behind.number, behind.since, [], "drop")
    assert json.loads(rig.sweep.plans[-1].read_text())["look"] == ahead.number == 1


def test_a_cell_that_fails_leaves_the_race_and_the_others_go_on(base: Json, tmp_path: Path) -> None:
    rig = RaceRig(tmp_path, base)
    rig.advance()
    rig.work()
    rig.advance()
    (cell,) = (c for c in rig.now.plan["cells"] if c["label"] == "50%")
    failing = next(s for s in rig.stages() if s["key"] in cell["stages"]["evaluate"].values())
    with rig.store.attempt(failing) as attempt:
        rig.store.fail(attempt, {"error": "StageFailure", "message": "it says nothing"})
    for spec in rig.stages():
        if spec["key"] != failing["key"] and not rig.store.is_done(spec):
            run_stage(spec, rig.store, BENCH)
    now = rig.advance()
    assert now.number == 2
    assert {rig.labels([key]).pop(): why for key, why in now.looks[-1]["dropped"].items()} == {
        "50%": "evaluate demo_agreement: it says nothing"
    }
    assert "50%" not in rig.labels(list(now.racing))


def test_a_bundle_carries_the_decisions_and_verify_takes_them_again(
    whole: Any, tmp_path: Path
) -> None:
    rig, _, _ = whole
    found = outcomes.collect(rig.sweep.load(), rig.store)
    packed = making.contents(
        found,
        plan=rig.sweep.load(),
        provenance={},
        redact=str,
        race=rig.now,
        reported=True,
    )
    assert "tables/race.csv" in packed
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    archive.write(good, archive.pack(packed, making.head("raced")))
    held = verify.verify(good)
    assert held.holds, held.differences
    assert held.decisions == len(rig.now.looks)
    kept = json.loads(packed[records.RACE])
    group = kept["looks"][1]["decision"]["groups"][0]
    group["pairs"][0]["p"] = 0.5
    changed = {**packed, records.RACE: json.dumps(kept).encode()}
    archive.write(bad, archive.pack(changed, making.head("raced")))
    told = [one for one in verify.verify(bad).differences if one.kind == "decision"]
    assert told[0].where == "look 1 of the race, decision.groups[0].pairs[0].p"
    assert told[0].recorded == "0.5"

"""A checkpoint is dropped when its last reader in any plan of the home is done, and not before."""

from __future__ import annotations

import json

import pytest

from sweeper.planning import retention


def stage(key, kind, **parents):
    return {"key": key, "kind": kind, "parents": parents}


PRUNE = stage("p", "prune")
QUANT = stage("q", "quantize", model=PRUNE)
OTHER = stage("o", "quantize", model=PRUNE)
SCORE_P = stage("ep", "evaluate", model=PRUNE)
SCORE_Q = stage("eq", "evaluate", model=QUANT)
MEASURE_Q = stage("mq", "measure", model=QUANT, pruned=PRUNE)
ALL = [PRUNE, QUANT, SCORE_P, SCORE_Q, MEASURE_Q]


class FakeStore:
    """Knows what is done and which checkpoints are there."""

    def __init__(self):
        self.done, self.dropped = set(), []

    def is_done(self, spec):
        return spec["key"] in self.done

    def has_bulk(self, spec):
        return spec["key"] in self.done and spec["key"] not in self.dropped

    def drop_bulk(self, spec):
        self.dropped.append(spec["key"])
        return 1


def finish(store, dropper, *specs):
    for spec in specs:
        store.done.add(spec["key"])
        dropper(spec)


@pytest.fixture
def store():
    return FakeStore()


def test_dropped_when_the_last_reader_is_done(store, tmp_path):
    dropper = retention.Dropper(store, tmp_path, ALL, "drop")
    finish(store, dropper, PRUNE, QUANT, SCORE_P, SCORE_Q)
    assert store.dropped == []
    finish(store, dropper, MEASURE_Q)
    assert sorted(store.dropped) == ["p", "q"]


def test_readers_that_were_done_before_are_not_waited_for(store, tmp_path):
    store.done |= {"p", "q", "ep", "eq"}
    dropper = retention.Dropper(store, tmp_path, ALL, "drop")
    finish(store, dropper, MEASURE_Q)
    assert sorted(store.dropped) == ["p", "q"]


@pytest.mark.parametrize(("policy", "dropped"), [("keep", []), ("pruned", ["q"])])
def test_what_a_policy_keeps(store, tmp_path, policy, dropped):
    dropper = retention.Dropper(store, tmp_path, ALL, policy)
    finish(store, dropper, *ALL)
    assert store.dropped == dropped
    assert retention.unread(store, {s["key"]: s for s in ALL}, policy) == []


def test_a_reader_in_another_sweep_of_the_home_counts(store, tmp_path):
    folder = tmp_path / "sweeps" / "other"
    folder.mkdir(parents=True)
    record = {
        "name": "other",
        "created": "2026-01-01",
        "cells": [],
        "stages": {
            "p": {"key": "p", "kind": "prune", "parents": {}},
            "o": {"key": "o", "kind": "quantize", "parents": {"model": "p"}},
        },
    }
    (folder / "plan-x.json").write_text(json.dumps(record))
    dropper = retention.Dropper(store, tmp_path, ALL, "drop")
    finish(store, dropper, *ALL)
    assert store.dropped == ["q"]
    finish(store, dropper, OTHER)
    assert store.dropped == ["q", "p"]


def test_gc_finds_what_nobody_reads_any_more(store):
    store.done |= {s["key"] for s in ALL}
    stages = {s["key"]: s for s in [*ALL, OTHER]}
    assert [s["key"] for s in retention.unread(store, stages, "drop")] == ["q"]
    store.done.add("o")
    assert {s["key"] for s in retention.unread(store, stages, "drop")} == {"p", "q"}

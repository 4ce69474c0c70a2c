"""Format versions are of a kind: what changed is built anew, and an older home is told so."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from sweeper.cli.commands.plan import outdated
from sweeper.planning import builder, formats
from sweeper.planning.estimate.cost import cost
from sweeper.planning.formats import Change, version
from sweeper.planning.plan import Params, Plan, Stage
from sweeper.planning.sweep import Sweep, merge, plan_json
from tests import tiny
from tests.composing import composed

WHY = "SVD-LLM sums its inputs in float64"


def stage(kind, parents=None, **params):
    return Stage(
        kind=kind,
        params=Params(params),
        parents=parents or {},
        library={"llmcompressor": "0.14.0.1"},
        sources={},
        label="",
        work=1.0,
    )


def cell(method):
    """Prune, quantize, measure."""
    pruned = stage("prune", method=method, sparsity=0.25)
    quantized = stage("quantize", {"model": pruned}, method="gptq", bits=4)
    return pruned, quantized, stage("measure", {"model": quantized}, bits=4)


# As they were when one number was the format of all stages.
FIRST = {
    "sparsegpt": "e43245319bd450a93eb58706 e45a9a05b2b82ccef75a1c3a bc9796e914b3822a2a27e0a2",
    "asvd": "03adcd35e044531726c7dd22 6f9e9c2ccc136fcd3d3aed94 2fd5cbedd73cc87be1fe3f54",
    "svd_llm": "d4b431c55eaba4808dde275d 1a563b3d37b5c1095e658575 5e92cf2a4dc992c276fff98b",
}
FIRST_SENSITIVITY = {
    None: "407753a3ba5936673aba4962",
    "asvd": "38e5483f81593b9d8183e12f",
    "svd_llm": "4ef3bf1b52746674791cf9a3",
}


@pytest.mark.parametrize("method", ["sparsegpt", "asvd"])
def test_what_did_not_change_has_the_keys_it_always_had(method):
    assert [each.key for each in cell(method)] == FIRST[method].split()
    assert all(each.former == () and not each.changes for each in cell(method))
    assert all(each.record()["format"] == 1 for each in cell(method))


def test_what_changed_has_a_new_key_and_so_has_what_rests_on_it():
    made = cell("svd_llm")
    assert [each.former for each in made] == [(key,) for key in FIRST["svd_llm"].split()]
    assert not {each.key for each in made} & set(FIRST["svd_llm"].split())
    assert [each.record()["format"] for each in made] == [2, 1, 1]
    assert all(each.changes == {WHY} for each in made)


@pytest.mark.parametrize("method", FIRST_SENSITIVITY)
def test_sensitivity_changed_for_the_same_method_alone(method):
    made = stage("sensitivity", levels=20, **({"method": method} if method else {}))
    first = FIRST_SENSITIVITY[method]
    assert (made.key, made.former) == (first, ()) or (method, made.former) == ("svd_llm", (first,))


def test_every_change_so_far_leads_to_another_former_key(monkeypatch):
    """A home of any earlier release is recognized, also of what changed twice or in two places."""
    quantizers = Change(kind="quantize", params={}, why="scales are in float32")
    first = [each.key for each in cell("svd_llm")]
    monkeypatch.setattr(formats, "CHANGES", (*formats.CHANGES, quantizers))
    pruned, quantized, _ = cell("svd_llm")
    assert (pruned.key, len(pruned.former)) == (first[0], 1)
    assert version("quantize", {}) == 2
    assert set(quantized.former) == {first[1], FIRST["svd_llm"].split()[1]}
    assert quantized.changes == {WHY, quantizers.why}
    assert cell("sparsegpt")[0].former == ()


class Home:
    """A store that has these keys of each kind."""

    def __init__(self, **kinds):
        self._kinds = kinds

    def scan(self, kind):
        return frozenset(self._kinds.get(kind, ()))

    def manifest(self, spec):
        return None

    def result(self, spec):
        return None

    def has_bulk(self, spec):
        return True


def planned(*methods):
    stages = [each for method in methods for each in cell(method)]
    return Plan(cells=(), stages={s.key: s for s in stages}, dropped=(), merged=())


def spent(plan, home):
    return cost(plan, home, device="cpu", workers=1, keep="keep")


def older(*methods, kinds=("prune", "quantize", "measure")):
    """A home in which cells of these methods were made before any format changed."""
    keys = [FIRST[method].split() for method in methods]
    at = {"prune": 0, "quantize": 1, "measure": 2}
    return Home(**{kind: [each[at[kind]] for each in keys] for kind in kinds})


def test_an_older_home_builds_again_what_changed_alone_and_says_so():
    plan = planned("sparsegpt", "svd_llm", "asvd")
    again = spent(plan, older("sparsegpt", "svd_llm", "asvd"))
    assert again.pending == again.outdated == {each.key for each in cell("svd_llm")}
    assert outdated(plan, again) == (
        "1 prune, 1 quantize, 1 measure of this home are of an older format and are built again "
        f"({WHY})"
    )


def test_only_what_the_home_had_is_said_to_be_built_again():
    plan = planned("sparsegpt", "svd_llm")
    for home in (Home(), older("sparsegpt")):
        assert outdated(plan, spent(plan, home)) == ""
    half = spent(plan, older("sparsegpt", "svd_llm", kinds=("prune",)))
    assert outdated(plan, half).startswith("1 prune of this home ")
    done = Home(**{each.kind: [each.key] for each in cell("svd_llm")})
    assert outdated(planned("svd_llm"), spent(planned("svd_llm"), done)) == ""


def test_a_cell_that_was_planned_anew_stands_in_for_its_former_self(tmp_path, monkeypatch):
    """Else a report of a sweep from an older home would show it twice."""
    own = [*tiny.overrides(tmp_path), "tasks.names=[demo_pydoc]", "quant.bits=16"]

    def recorded(created):
        with composed([]) as (config, loader):
            cells = [*own, "prune=svd_llm,sparsegpt", "prune.sparsity=20"]
            made = builder.plan(config, loader, cells)
        return {"name": "x", "created": created, **plan_json(made)}

    changes = formats.CHANGES
    monkeypatch.setattr(formats, "CHANGES", ())
    older_release = recorded("2026-01-01")
    monkeypatch.setattr(formats, "CHANGES", changes)
    newer = recorded("2026-01-02")
    assert ["former" in cell for cell in newer["cells"]] == [True, False]
    assert older_release["cells"][1] == newer["cells"][1]
    assert older_release["cells"][0]["key"] != newer["cells"][0]["key"]
    merged = merge([older_release, newer])
    assert merged["cells"] in (newer["cells"], newer["cells"][::-1])


def test_changes_are_of_known_kinds_and_methods():
    from sweeper import methods
    from sweeper.stages import KINDS

    for change in formats.CHANGES:
        assert change.kind in KINDS
        assert methods.method(change.params["method"])


def test_plan_and_run_say_it_in_one_line(tmp_path, monkeypatch, caplog):
    """Through the front end: the store of a home that an older release had filled."""
    from sweeper.cli.commands import plan as of_plan
    from sweeper.cli.commands import run as of_run

    plan = planned("svd_llm")
    found = spent(plan, older("svd_llm"))
    request = _Request(plan, found, Sweep(tmp_path, "old"))
    (line,) = [x for x in of_plan._stages(request, plan, found).splitlines() if "format" in x]
    assert line == "Format: " + outdated(plan, found)
    monkeypatch.setattr(of_run, "specs_of", _stop)
    with caplog.at_level(logging.INFO, "sweeper"), pytest.raises(_Stopped):
        of_run.perform(request)
    assert caplog.messages.count(outdated(plan, found)) == 1


class _Stopped(Exception):
    pass


def _stop(_request):
    raise _Stopped


class _Request:
    """As much of a command as is asked before anything is carried out."""

    def __init__(self, plan, found, sweep):
        self.plan, self.cost, self.sweep = plan, found, sweep
        self.store = self
        self.launcher = type("Launcher", (), {"drops_at_end": False})
        self.config = SimpleNamespace(checkpoints="keep", tasks=SimpleNamespace(race=None))

    def check(self, need_bytes=0):
        pass

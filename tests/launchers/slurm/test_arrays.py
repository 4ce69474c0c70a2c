"""Jobs, arrays and dependencies: as few submissions as can be, and nothing starts too early."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.schedule import closure
from launchers.slurm.resources.requests import Requests, model_parameters
from launchers.slurm.resources.resources import Resources, joined
from launchers.slurm.submission.arrays import Array, arrays, dependency
from launchers.slurm.submission.packing import pack
from sweeper.errors import BadInput
from sweeper.store.store import Spec
from tests.launchers.slurm_rig import SlurmRig
from tests.stubs.stages import spec

ONE = Resources(timeout_min=60)


def plan(
    stages: Sequence[Spec],
    by: str = "cell",
    live: dict[str, str] | None = None,
    done: Sequence[Spec] = (),
    largest: int = 1001,
    request: Any = lambda spec: ONE,
) -> list[Array]:
    specs, live = closure(stages), live or {}
    skipped = {s["key"] for s in done} | set(live)
    needed = {key: False for key in specs if key not in skipped}
    units = pack(specs, needed, live.keys(), request, by=by)
    return arrays(units, live, largest)


def labels(array: Array, stages: Sequence[Spec]) -> list[list[str]]:
    names = {s["key"]: s["label"] for s in stages}
    return [[names[key] for key in unit.keys] for unit in array.units]


def written(planned: Sequence[Array]) -> list[str]:
    """The dependencies as sbatch gets them, with arrays numbered 100, 200 ..."""
    jobs: list[list[str]] = []
    found = []
    for n, array in enumerate(planned, start=1):
        found.append(dependency(array.edges, jobs))
        single = len(array.units) == 1
        jobs.append([f"{n}00" if single else f"{n}00_{i}" for i in range(len(array.units))])
    return found


@pytest.fixture
def rig(tmp_path: Path) -> SlurmRig:
    return SlurmRig(tmp_path)


def test_a_cell_is_one_job_and_a_shared_prune_its_own(rig: SlurmRig) -> None:
    stages = rig.grid(pruned=3, quantized=1, tasks=2)
    first, *rest = plan(stages)
    assert sorted(labels(first, stages)) == [["p0"], ["p1"], ["p2"]]
    assert {tuple(unit) for array in rest for unit in labels(array, stages)} == {
        *((f"p{p}t0", f"p{p}t1") for p in range(3)),
        *((f"p{p}q0", f"p{p}q0t0", f"p{p}q0t1", f"p{p}q0m") for p in range(3)),
    }


def test_children_pair_with_their_own_parent(rig: SlurmRig) -> None:
    stages = rig.grid(pruned=4, quantized=2, tasks=1)
    planned = plan(stages)
    assert written(planned) == ["", "aftercorr:100", "aftercorr:100", "aftercorr:100"]
    parents = [unit[0] for unit in labels(planned[0], stages)]
    for array in planned[1:]:
        assert [unit[0][:2] for unit in labels(array, stages)] == parents


def test_one_parent_of_many_holds_one_array(rig: SlurmRig) -> None:
    stages = rig.grid(pruned=1, quantized=9, tasks=1)
    planned = plan(stages)
    assert [len(array.units) for array in planned] == [1, 10]
    assert written(planned) == ["", "afterok:100"]


def test_a_prune_with_a_single_reader_joins_its_cell(rig: SlurmRig) -> None:
    prune = rig.make("p")
    quantize = rig.make("q", parents={"model": prune})
    measure = rig.score("m", quantize, parents={"pruned": prune})
    (array,) = plan([measure, quantize])
    assert labels(array, [prune, quantize, measure]) == [["p", "q", "m"]]


def test_pack_stage_waits_for_the_nearest_parents_only(rig: SlurmRig) -> None:
    prune = rig.make("p")
    quantize = rig.make("q", parents={"model": prune})
    measure = rig.score("m", quantize, parents={"pruned": prune})
    planned = plan([measure, quantize], by="stage")
    assert written(planned) == ["", "afterok:100", "afterok:200"]


def test_what_does_not_fit_the_time_limit_is_split(rig: SlurmRig) -> None:
    quantize = rig.make("q", estimate_s=1800.0)
    scores = [rig.score(f"t{n}", quantize, estimate_s=1000.0) for n in range(3)]
    planned = plan(scores)
    assert [len(array.units) for array in planned] == [1, 3]


def test_stages_of_different_places_are_not_packed(rig: SlurmRig) -> None:
    def request(stage: Spec) -> Resources:
        return Resources(partition="cpu" if stage["kind"] == "score" else "gpu")

    quantize = rig.make("q")
    planned = plan([rig.score("t", quantize)], request=request)
    assert [array.resources.partition for array in planned] == ["gpu", "cpu"]


def test_a_stage_without_a_gpu_rides_along_in_a_gpu_job(rig: SlurmRig) -> None:
    def request(stage: Spec) -> Resources:
        on_gpu = Resources(gpus_per_node=2, gpu_type="a100", mem_gb=8)
        return Resources(mem_gb=16) if stage["kind"] == "score" else on_gpu

    quantize = rig.make("q")
    (array,) = plan([rig.score("t", quantize)], request=request)
    assert array.resources == Resources(gpus_per_node=2, gpu_type="a100", mem_gb=16)


def test_a_stage_of_one_gpu_keeps_no_others_waiting(rig: SlurmRig) -> None:
    def request(stage: Spec) -> Resources:
        return Resources(gpus_per_node=4 if stage["kind"] == "score" else 1)

    prune = rig.make("p")
    planned = plan([prune, rig.score("t", prune)], request=request)
    assert [array.resources.gpus for array in planned] == [1, 4]


def test_a_done_stage_is_no_dependency_and_a_live_one_is(rig: SlurmRig) -> None:
    prune = rig.make("p")
    quantize = rig.make("q", parents={"model": prune})
    assert written(plan([quantize], done=[prune])) == [""]
    assert written(plan([quantize], live={prune["key"]: "7_3"})) == ["afterok:7_3"]


def test_arrays_are_split_where_the_site_ends(rig: SlurmRig) -> None:
    stages = rig.grid(pruned=25, quantized=1, tasks=1)
    planned = plan(stages, largest=10)
    assert sorted(len(array.units) for array in planned) == [5, 5, 5, *[10] * 6]
    pairs = [f"aftercorr:{n}00" for n in (1, 1, 2, 2, 3, 3)]
    assert sorted(written(planned)) == ["", "", "", *pairs]


@st.composite
def graphs(draw: st.DrawFn) -> list[Spec]:
    """Stages with up to two parents each among the earlier ones."""
    stages: list[Spec] = []
    for n in range(draw(st.integers(1, 14))):
        count = draw(st.integers(0, min(2, n)))
        chosen = draw(st.permutations(range(n)))[:count]
        roles = dict(zip(("model", "pruned"), (stages[i] for i in chosen), strict=False))
        stages.append(spec(name=f"s{n}", label=f"s{n}", parents=roles))
    return stages


@given(graphs(), st.sampled_from(["cell", "stage"]), st.integers(1, 5), st.data())
def test_no_stage_can_start_before_its_parents(
    stages: list[Spec], by: str, largest: int, data: st.DataObject
) -> None:
    """Whatever the graph: every stage once, and only behind all that it rests on."""
    specs = closure(stages)
    live = {k: f"9_{n}" for n, k in enumerate(specs) if data.draw(st.integers(0, 5)) == 0}
    # the parents of a live stage are live or done
    done = {p["key"] for k in live for p in _ancestors(specs[k])} - set(live)
    planned = plan(stages, by, live, [specs[k] for k in done], largest)
    seat = {
        key: (a, e)
        for a, array in enumerate(planned)
        for e, unit in enumerate(array.units)
        for key in unit.keys
    }
    assert set(seat) == set(specs) - set(live) - done
    behind: dict[tuple[int, int], set[Any]] = {}
    for a, array in enumerate(planned):
        assert len(array.units) <= largest
        for e, unit in enumerate(array.units):
            behind[a, e] = set()
            for edge in array.edges:
                if edge.array is None:
                    (key,) = (k for k, job in live.items() if job == edge.job)
                    # the job of a live stage waits for those of its own live parents
                    above = {live.get(p["key"]) for p in _ancestors(specs[key])}
                    behind[a, e] |= {edge.job, *above}
                else:
                    assert edge.array < a
                    twin = (edge.array, e if edge.element is None else edge.element)
                    assert twin in behind, "aftercorr without a twin never starts"
                    behind[a, e] |= {twin, *behind[twin]}
            earlier: set[str] = set()
            for key in unit.keys:
                for parent in specs[key]["parents"].values():
                    where = live.get(parent["key"]) or seat.get(parent["key"])
                    assert parent["key"] in done | earlier or where in behind[a, e]
                earlier.add(key)


def _ancestors(stage: Spec) -> list[Spec]:
    parents = list(stage["parents"].values())
    return parents + [above for parent in parents for above in _ancestors(parent)]


def test_resources_by_kind_and_size() -> None:
    requests = Requests(
        {"mem_gb": 64, "gpus_per_node": 1, "gpu_type": "a100", "timeout_min": 60},
        {"measure": {"gpus_per_node": 0}},
        [
            {"above_billion": 10, "mem_gb": 200},
            {"above_billion": 40, "kinds": ["evaluate"], "gpus_per_node": 4},
        ],
    )
    evaluate, measure = {"kind": "evaluate"}, {"kind": "measure"}
    assert requests.of(evaluate, 8e9).gpus_per_node == 1
    assert requests.of(evaluate, 70e9).gpus_per_node == 4
    assert requests.of(evaluate, 70e9).mem_gb == 200
    assert requests.of(measure, 70e9).gpus == 0
    assert requests.of(measure, 70e9).gpu_type is None
    asked = requests.of(evaluate).parameters("n", "afterok:1", 4)
    assert asked["gpus_per_node"] == "a100:1"
    assert asked["mem"] == "65536M"
    assert asked["additional_parameters"]["kill-on-invalid-dep"] == "yes"


def asked(base: Any, kind: str = "evaluate", **kinds: Any) -> tuple[dict[str, Any], Resources]:
    """What sbatch is told of cores, GPUs and memory, and the request itself."""
    made = Requests(SHIPPED | base, kinds, []).of({"kind": kind})
    told = made.parameters("n", "", 1)
    names = (
        "gres",
        "gpus_per_node",
        "gpus_per_task",
        "cpus_per_task",
        "cpus_per_gpu",
        "mem",
        "mem_per_cpu",
        "mem_per_gpu",
    )
    return {name: told[name] for name in names if name in told}, made


SHIPPED = {
    "gpus_per_node": 1,
    "cpus_per_task": 8,
    "mem_gb": 64,
    "gres": None,
    "gpu_type": None,
    "gpus_per_task": None,
    "cpus_per_gpu": None,
    "mem_per_cpu": None,
    "mem_per_gpu": None,
}


@pytest.mark.parametrize(
    ("base", "told", "gpus", "memory"),
    [
        ({}, {"gpus_per_node": "1", "cpus_per_task": 8, "mem": "65536M"}, 1, 64),
        (
            {"gpus_per_task": 2, "cpus_per_gpu": 6, "mem_per_gpu": "40GB"},
            {"gpus_per_node": "2", "cpus_per_task": 12, "mem_per_gpu": "40GB"},
            2,
            80,
        ),
        (
            {"gres": "gpu:a100:2,nvme:1"},
            {"gres": "gpu:a100:2,nvme:1", "cpus_per_task": 8, "mem": "65536M"},
            2,
            64,
        ),
        (
            {"mem_per_cpu": 4000},
            {"gpus_per_node": "1", "cpus_per_task": 8, "mem_per_cpu": "4000"},
            1,
            31.25,
        ),
        (
            {"gpus_per_node": None, "cpus_per_task": None, "mem_gb": None, "setup": None},
            {"cpus_per_task": 1},
            0,
            None,
        ),
    ],
)
def test_one_thing_is_asked_for_in_one_way(
    base: Any, told: Any, gpus: int, memory: float | None
) -> None:
    """sbatch takes no two of these; the shipped file always has the plain ones."""
    found, made = asked(base)
    assert found == told
    assert made.gpus == gpus
    assert (made.memory and made.memory[1]) == memory
    assert made.parameters("n", "", 1)["setup"] == []


def test_a_kind_asks_in_its_own_way() -> None:
    base = {"gres": "gpu:a100:1,nvme:1", "cpus_per_gpu": 4, "mem_per_gpu": "40G"}
    small, made = asked(base, "measure", measure={"gpus_per_node": 0, "mem_gb": 8})
    assert small == {"gres": "nvme:1", "cpus_per_task": 8, "mem": "8192M"}
    assert made.gpu_kind is None
    wide, made = asked(base, "evaluate", evaluate={"gpus_per_node": 4})
    told = {"gpus_per_node": "a100:4", "gres": "nvme:1", "cpus_per_task": 16, "mem_per_gpu": "40G"}
    assert wide == told
    plain, _ = asked(base, "evaluate", evaluate={"cpus_per_task": 2, "mem_gb": 16})
    assert plain == {"gres": base["gres"], "cpus_per_task": 2, "mem": "16384M"}
    other, made = asked({"gpu_type": "a10"}, evaluate={"gres": "gpu:h100:1"})
    assert (made.gpu_kind, other["gres"]) == ("h100", "gpu:h100:1")
    assert "gpus_per_node" not in other
    cores, _ = asked(base, "evaluate", evaluate={"mem_per_cpu": "8G"})
    assert cores == {"gres": base["gres"], "cpus_per_task": 4, "mem_per_cpu": "8G"}
    same, _ = asked(base, "evaluate", evaluate={"mem_gb": None, "mem_per_cpu": None})
    assert same["mem_per_gpu"] == "40G", "what is not given takes the place of nothing"


def test_names_may_be_numbers() -> None:
    """Hydra reads hydra.launcher.account=2024 as one."""
    _, made = asked({"account": 2024, "partition": 7}, evaluate={"reservation": 12})
    assert (made.account, made.partition, made.reservation) == ("2024", "7", "12")


def test_joined_requests_have_room_for_each() -> None:
    _, scored = asked({"mem_per_gpu": "40G", "cpus_per_gpu": 4})
    _, converted = asked({"gpus_per_node": 0, "cpus_per_task": 6, "mem_gb": 50})
    both = joined([converted, scored])
    assert (both.gpus, both.cores) == (1, 6)
    assert both.memory == ("mem_per_gpu", 50)
    _, scored = asked({"gpus_per_node": 0, "gres": "nvme:1"})
    assert joined([converted, scored]).gres == "nvme:1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mem_per_gpu": "40G"}, {"mem_per_gpu": "61440M"}),
        ({"mem_per_cpu": "4G"}, {"mem_per_cpu": "6144M"}),
        ({}, {"mem": "98304M"}),
    ],
)
def test_more_memory_is_asked_for_in_the_same_way(given: Any, said: Any) -> None:
    _, made = asked(given)
    assert made.memory is not None
    more = made.with_memory(1.5 * made.memory[1])
    assert said.items() <= more.parameters("n", "", 1).items()


def test_the_signal_comes_well_before_a_short_limit() -> None:
    asked = Resources(timeout_min=1, signal_delay_s=90).parameters("n", "", 1)
    assert asked["signal_delay_s"] <= 12


def test_model_sizes_come_from_the_stages_of_the_same_model() -> None:
    prune = {"kind": "prune", "key": "p", "sources": {"model": "/m"}, "parents": {}, "work": 5.0}
    measure = {"kind": "measure", "key": "m", "parents": {"model": prune}, "work": 7e10}
    other = {"kind": "prune", "key": "o", "sources": {"model": "/n"}, "parents": {}}
    sizes = model_parameters({"p": prune, "m": measure, "o": other})
    assert sizes == {"p": 7e10, "m": 7e10, "o": 0.0}


@pytest.mark.parametrize(
    ("base", "kinds", "sizes", "says"),
    [
        ({"partitoin": "gpu"}, {}, [], "hydra.launcher.partitoin"),
        ({"timeout_min": 0}, {}, [], "hydra.launcher.timeout_min=0"),
        ({}, {"prun": {}}, [], "hydra.launcher.kinds=prun"),
        ({}, {}, [{"mem_gb": 3}], "above_billion"),
        ({}, {}, [{"above_billion": 3, "kinds": ["x"]}], "hydra.launcher.sizes.kinds=x"),
        ({"setup": "module load cuda"}, {}, [], "setup=module load cuda: valid: a list"),
        ({"mem_gb": "64GB"}, {}, [], "hydra.launcher.mem_gb=64GB: valid: a number of GiB"),
        ({"mem_per_gpu": "much"}, {}, [], "hydra.launcher.mem_per_gpu=much: valid: an amount"),
        ({"gpus_per_node": True}, {}, [], "gpus_per_node=True: valid: a whole number, 0 or more"),
        ({"additional_parameters": ["x"]}, {}, [], "valid: options of sbatch"),
        ({"nodes": 2}, {}, [], "hydra.launcher.nodes=2: no such key: a job runs on one node"),
        ({"gres": "gpu:2", "gpu_type": "a100"}, {}, [], "gpu_type=a100: gres=gpu:2 says which"),
    ],
)
def test_bad_requests_are_named(base: Any, kinds: Any, sizes: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says.replace(".", r"\.")):
        Requests(base, kinds, sizes)

"""JSQ through its whole stage: the search, its record, its resumption, and what it reduces to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sweeper.errors import BadInput, StageFailure
from sweeper.methods import BySearch, method
from sweeper.methods.jsq.fake_quant import quantized, rounded, smoothing
from sweeper.methods.jsq.method import METHOD, _pruner
from sweeper.methods.jsq.search import CompressedLoss
from sweeper.modeling import checkpoint, layer_chain
from sweeper.stages import Job, calibration, prune
from tests import rounding

from .conftest import PRUNE

STRENGTHS = [0.0, 0.05, 0.1, 0.2]
JSQ: dict[str, Any] = {
    "method": "jsq",
    "sparsity": 0.5,
    "range_weight": 2.0,
    "strengths": STRENGTHS,
    "clamp": "range",
    "search_steps": 12,
    "search_samples": 4,
    "search_bits": 8,
    "search_hot": 300.0,
    "search_cold": 10.0,
    "search_seed": 0,
}
FIXED = JSQ | {"strengths": [0.0]}


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(out / "checkpoint" / "model.safetensors")
    return {name: w for name, w in found.items() if "proj" in name}


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "4:8"])
def test_without_range_and_editing_it_is_wanda(workshop: Any, pattern: str) -> None:
    wanda = workshop.prune(method="wanda", sparsity=0.5, pattern=pattern)
    reduced = workshop.prune(**FIXED | {"range_weight": 0.0, "pattern": pattern})
    whole = workshop.prune(**FIXED | {"pattern": pattern})
    assert same(wanda, reduced)
    assert not same(wanda, whole)
    workshop.measure(whole, sparsity=0.5, pattern=pattern, bits=16)
    assert not (whole / "search.json").exists()


def test_the_search_keeps_its_trace_and_the_model_follows_its_best(workshop: Any) -> None:
    out = workshop.prune(**JSQ)
    found = json.loads((out / "search.json").read_text())
    assert len(found["trace"]) == 13
    best = min(found["trace"], key=lambda step: step["energy"])
    assert found["editing"] == [STRENGTHS[choice] for choice in best["vector"]]
    assert same(out, workshop.prune(fresh=True, **JSQ)), "it is not deterministic"
    # the first layer of the model with the found strengths, without any search
    uniform = {choice: workshop.prune(**JSQ | {"strengths": [choice]}) for choice in STRENGTHS}
    first = "model.layers.0.self_attn.q_proj.weight"
    chosen = uniform[found["editing"][0]]
    assert torch.equal(weights(out)[first], weights(chosen)[first])
    assert len({weights(u)[first].sum().item() for u in uniform.values()}) > 1


def test_a_killed_search_goes_on(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = workshop.prune(**JSQ)
    job = workshop.job(PRUNE | JSQ, sources={"model": workshop.dense, "calibration": workshop.text})
    asked: list[Any] = []
    energy = CompressedLoss.energy

    def dying(self: CompressedLoss, vector: tuple[int, ...]) -> float:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(vector)
        return energy(self, vector)

    monkeypatch.setattr(CompressedLoss, "energy", dying)
    with pytest.raises(KeyboardInterrupt):
        prune.run(job)
    monkeypatch.undo()
    later: list[Any] = []
    monkeypatch.setattr(
        CompressedLoss, "energy", lambda self, v: later.append(v) or energy(self, v)
    )
    prune.run(job)
    assert later
    assert not set(later) & set(asked)
    assert (job.out / "search.json").read_bytes() == (expected / "search.json").read_bytes()
    assert same(job.out, expected)


class Rig:
    """The tiny model as a chain, and its landscape."""

    def __init__(self, workshop: Any, dtype: str = "float32", **settings: Any) -> None:
        self.params = PRUNE | JSQ | settings
        self.model = checkpoint.load(workshop.dense, dtype=dtype)
        tokenizer = checkpoint.tokenizer(workshop.dense)
        self.samples = calibration.samples(
            {"samples": 8, "length": 64, "seed": 0}, tokenizer, workshop.text
        )

    def landscape(self, layers: layer_chain.Chain) -> CompressedLoss:
        return CompressedLoss(
            layers,
            _pruner(self.params, self.model),
            strengths=STRENGTHS,
            clamp="range",
            bits=self.params["search_bits"],
        )


def test_kept_states_change_no_energy(workshop: Any) -> None:
    rig = Rig(workshop)
    before = {n: p.detach().clone() for n, p in rig.model.named_parameters()}
    path = [(0, 0), (0, 3), (2, 3), (2, 1), (0, 3), (1, 1)]
    with layer_chain.opened(rig.model, rig.samples) as layers:
        going = rig.landscape(layers)
        met = []
        for step, vector in enumerate(path):
            met.append(going.energy(vector))
            if step in (0, 2):
                going.accepted(vector)
        alone = [rig.landscape(layers).energy(vector) for vector in path]
    assert met == alone
    assert len(set(met)) == 5, "the strengths change nothing"
    assert all(torch.equal(before[n], p) for n, p in rig.model.named_parameters())


def test_the_loss_of_the_chain_is_that_of_the_model(workshop: Any) -> None:
    rig = Rig(workshop, dtype="float64")
    with rounding.exactly(), torch.no_grad():
        with layer_chain.opened(rig.model, rig.samples) as layers:
            states = layers.embedded()
            for index in range(len(layers.layers)):
                states = layers.through(index, states)
            found = layers.loss(states)
        expected = float(rig.model(rig.samples, labels=rig.samples).loss)
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_energy_is_the_loss_of_the_model_that_is_saved(workshop: Any) -> None:
    # without quantization in the search, both prune the same way
    rig = Rig(workshop, dtype="float64", search_bits=16)
    exact = {"compute_dtype": "float64", "save_dtype": "float64"}
    rig.params |= exact
    with rounding.exactly():
        out = workshop.prune(**JSQ | {"strengths": [STRENGTHS[2]]} | exact)
        with layer_chain.opened(rig.model, rig.samples) as layers:
            found = rig.landscape(layers).energy((2, 2))
        saved = checkpoint.load(out / "checkpoint", dtype="float64")
        with torch.no_grad():
            expected = 1000 * float(saved(rig.samples, labels=rig.samples).loss)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_step_costs_at_most_a_calibration_pass(workshop: Any) -> None:
    rig = Rig(workshop)
    with layer_chain.opened(rig.model, rig.samples) as layers:
        landscape = rig.landscape(layers)
        landscape.energy((0, 0))
        landscape.accepted((0, 0))
        calls: list[int] = []
        through = layers.through
        layers.through = lambda i, s: calls.append(i) or through(i, s)  # type: ignore[method-assign]
        landscape.energy((1, 0))
        landscape.energy((0, 1))
    # a calibration pass runs each layer twice: to look at its inputs, and when it is done
    assert calls == [0, 0, 1, 1, 1, 1]


def test_rounding_in_the_search_is_that_of_w8a8() -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.nn.Linear(16, 8, bias=False) for _ in range(2)]
    for layer in layers:
        layer.weight.data = torch.randn(8, 16, generator=generator)
    inputs = torch.randn(5, 16, generator=generator)
    peaks, dense = inputs.abs().amax(0), [layer.weight.data.clone() for layer in layers]
    scale = (peaks / torch.maximum(*(w.abs().amax(0) for w in dense))).sqrt()
    with torch.no_grad(), quantized(layers, peaks, 8):
        found = [layer(inputs) for layer in layers]
    for output, weight in zip(found, dense, strict=True):
        expected = by_hand(inputs / scale) @ by_hand(weight * scale).t()
        torch.testing.assert_close(output, expected)
    torch.testing.assert_close(smoothing(peaks, dense), scale)
    assert torch.equal(rounded(torch.zeros(2, 3), 8), torch.zeros(2, 3))


def by_hand(values: torch.Tensor) -> torch.Tensor:
    """Symmetric 8 bit by row, from -127 to 127."""
    scale = values.abs().amax(1, keepdim=True) / 127
    return (values / scale).round() * scale


def test_a_loss_that_is_not_finite_fails_the_cell(workshop: Any) -> None:
    rig = Rig(workshop)
    with layer_chain.opened(rig.model, rig.samples) as layers:
        landscape = rig.landscape(layers)
        layers.loss = lambda states: float("nan")  # type: ignore[method-assign]
        with pytest.raises(StageFailure, match=r"not finite.*search_bits"):
            landscape.energy((0, 0))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"range_weight": -1.0}, "prune.range_weight=-1.0: valid: 0"),
        ({"strengths": []}, "prune.strengths"),
        ({"strengths": [0.0, 0.5]}, "below 0.5"),
        ({"strengths": [0.1, 0.1]}, "different"),
        ({"clamp": "sigma"}, "valid: range, quantile"),
        ({"search_steps": 0}, "prune.search_steps=0: valid: 1"),
        ({"search_samples": 0}, "prune.search_samples=0: valid: 1"),
        ({"search_bits": 1}, "valid: 2 to 16"),
        ({"search_cold": 500.0}, "at most prune.search_hot"),
        ({"pattern": "4:2"}, "prune.pattern=4:2"),
    ],
)
def test_refusals(wrong: dict[str, Any], said: str) -> None:
    refused = METHOD.refusal(PRUNE | JSQ | {"shapes": {}} | wrong)
    assert isinstance(refused, BadInput)
    assert said in str(refused)


def test_what_is_not_searched_is_not_refused_for_its_search() -> None:
    assert METHOD.refusal(PRUNE | FIXED | {"shapes": {}, "search_steps": 0}) is None
    assert METHOD.refusal(PRUNE | JSQ | {"shapes": {}}) is None


def test_the_cost_counts_the_steps() -> None:
    how = method("jsq")
    assert isinstance(how, BySearch)
    params = PRUNE | JSQ
    alone = how.passes(params | FIXED)
    assert how.search_share(params | FIXED) == 0
    whole = how.passes(params | {"search_samples": None, "search_steps": 40})
    half = how.passes(params | {"search_samples": 4, "search_steps": 40})
    assert whole - alone == pytest.approx(2 * (half - alone))
    searched = params | {"search_samples": None, "search_steps": 40}
    assert how.search_share(searched) == pytest.approx((whole - alone) / whole)
    assert how.passes(params | {"search_samples": 100, "search_steps": 40}) == whole


def test_progress_of_search_and_pruning_is_one_way(workshop: Any) -> None:
    heard: list[float] = []
    job = workshop.job(
        PRUNE | JSQ,
        sources={"model": workshop.dense, "calibration": workshop.text},
        progress=lambda fraction, note="": heard.append(fraction),
    )
    assert isinstance(job, Job)
    prune.run(job)
    assert heard == sorted(heard)
    assert len(heard) == 13 + 2
    assert heard[-1] == 1

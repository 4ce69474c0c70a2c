"""The models that ``conf/model`` names, as far as nothing has to be installed for them."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from sweeper.modeling import shapes
from tests.composing import composed


@pytest.mark.parametrize(
    ("name", "parameters", "linear"),
    [
        ("smollm2-135m", 134_515_008, 106_168_320),
        ("gemma3-270m", 268_098_176, 100_270_080),
        ("llama-3.1-8b", 8_030_261_248, 6_979_321_856),
        ("mistral-7b-v0.3", 7_248_023_552, 6_979_321_856),
    ],
)
def test_dimensions_give_the_parameters(name: str, parameters: int, linear: int) -> None:
    with composed([f"model={name}"]) as (config, _):
        arch = OmegaConf.to_container(config.model.architecture)
    assert isinstance(arch, dict)
    found = shapes.from_architecture({str(key): value for key, value in arch.items()})
    assert (found.parameters, found.linear_parameters) == (parameters, linear)


def test_a_large_vocabulary_is_scored_in_small_batches() -> None:
    sizes = {}
    for words in (["model=gemma3-270m"], ["model=smollm2-135m"]):
        with composed(["experiment=demo", *words]) as (config, _):
            sizes[config.model.name] = config.tasks.batch_size
    assert sizes == {"gemma3-270m": 2, "smollm2-135m": 16}

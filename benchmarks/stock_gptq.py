"""What stock GPTQ does to a mask: pruned weights that llm-compressor's own modifier fills again.

    isorate run experiment=demo checkpoints=pruned     # or any sweep with such a cell
    python benchmarks/stock_gptq.py [--home outputs] [--sweep demo] [--cell "25% + 4bit"]

Takes the pruned checkpoint, its mask and the calibration samples of that cell, applies
``llmcompressor.modifiers.gptq.GPTQModifier`` as it is (of this project only the samples and the
settings), and counts: of the weights that were pruned, how many are not zero any more, in all and
matrix by matrix.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from sweeper.inputs import sources
from sweeper.planning.sweep import Sweep
from sweeper.stages import Job
from sweeper.store.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("outputs"))
    parser.add_argument("--sweep", default="demo")
    parser.add_argument("--cell", default="25% + 4bit")
    options = parser.parse_args()
    home = options.home.absolute()
    record, store, started = Sweep(home, options.sweep).load(), Store(home), time.process_time()
    (cell,) = (one for one in record["cells"] if one["label"] == options.cell)
    spec = record["stages"][cell["stages"]["quantize"]]
    with tempfile.TemporaryDirectory() as name:
        job = Job(
            params=spec["params"],
            inputs={"model": store.path(spec["parents"]["model"])},
            sources=sources.resolve(spec),
            out=Path(name),
            scratch=Path(name),
            kin=Path(name),
        )
        shares = refilled(job)
    worst = max(shares, key=lambda one: shares[one][0] / shares[one][1])
    filled, pruned = (sum(counts) for counts in zip(*shares.values(), strict=True))
    touched = sum(count > 0 for count, _ in shares.values())
    print(
        f"{options.cell}: {100 * filled / pruned:.2f} % of {pruned} pruned weights are no longer "
        f"zero; in {touched} of {len(shares)} matrices, the worst {worst} with "
        f"{100 * shares[worst][0] / shares[worst][1]:.1f} %; "
        f"{time.process_time() - started:.0f} CPU s"
    )


def refilled(job: Job) -> dict[str, tuple[int, int]]:
    """Matrix -> (pruned weights that are not zero after stock GPTQ, pruned weights)."""
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier

    from sweeper.methods.quantization.grids import groups
    from sweeper.modeling import checkpoint, masks, matrices
    from sweeper.stages import calibration

    torch.set_num_threads(1)
    params: Mapping[str, Any] = job.params
    model = checkpoint.sole(job.checkpoint("model"), dtype=params["compute_dtype"])
    tokenizer = checkpoint.tokenizer(job.checkpoint("model"))
    samples = calibration.of(job, tokenizer)
    stock = GPTQModifier(
        config_groups=groups(params),
        ignore=matrices.untreated(model),
        actorder=None if params["actorder"] == "none" else params["actorder"],
        block_size=params["block_size"],
        dampening_frac=params["dampening"],
    )
    kept = masks.load(job.inputs["model"] / "mask")
    before = {n: m.weight.detach() != 0 for n, m in checkpoint.linears(model).items() if n in kept}
    assert all(not bool((before[n] & ~kept[n]).any()) for n in kept), "the mask holds before"
    oneshot(model=model, recipe=[stock], dataset=_loader(samples), processor=tokenizer)
    after = {n: m.weight.detach() for n, m in checkpoint.linears(model).items()}
    return {
        name: (int(((after[name] != 0) & ~mask).sum()), int((~mask).sum()))
        for name, mask in kept.items()
    }


def _loader(samples: Any) -> Any:
    from torch.utils.data import DataLoader

    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"input_ids": one.unsqueeze(0)} for one in samples)

    return DataLoader(list(rows()), batch_size=None, shuffle=False)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

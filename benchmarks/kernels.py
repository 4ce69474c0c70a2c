"""Which operations of a model change their bits with the kernels, and what the portable ones cost.

    python benchmarks/kernels.py [SETTING ...]

The operations that pruning, quantization and scoring are made of, on matrices of SmolLM2-135M's
shapes, in a process for each setting of `benchmarks/machines.py` (there a whole model is
compressed and scored). Prints, against the first setting of each group, how many of all numbers
differ and the largest relative difference, and CPU seconds. One thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machines import FLOAT32, KEY, SETTINGS  # noqa: E402


def operations(dtype: str) -> dict[str, object]:
    """Name -> the result of one operation, and the seconds it took under ``<name>_s``."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)  # its bits are the same on every processor
    kind = getattr(torch, dtype)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape)).to(torch.float32)

    inputs, weight = normal(2048, 576).to(kind), (normal(1536, 576) / 24).to(kind)
    gram = normal(576, 4096)
    hessian = gram @ gram.T / 4096 + 0.01 * torch.eye(576)
    query, keys, values = (normal(1, 9, 256, 64).to(kind) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    made = {
        "linear": lambda: inputs @ weight.T,
        "attention": lambda: attend(query, keys, values, is_causal=True),
        "silu": lambda: torch.nn.functional.silu(inputs),
        "norm": lambda: inputs * torch.rsqrt(inputs.float().pow(2).mean(-1, keepdim=True)),
        "log-softmax": lambda: torch.log_softmax((inputs @ weight.T).float(), -1),
        "gram (float32)": lambda: gram @ gram.T,
        "cholesky (float32)": lambda: torch.linalg.cholesky(hessian),
        "inverse (float32)": lambda: torch.cholesky_inverse(torch.linalg.cholesky(hessian)),
    }
    found: dict[str, object] = {}
    for name, run in made.items():
        run()
        began = time.process_time()
        result = run()
        found[f"{name}_s"] = time.process_time() - began
        found[name] = result.float().numpy()
    return found


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--into":
        import numpy as np

        np.savez(sys.argv[2], **operations(sys.argv[3]))  # type: ignore[arg-type]
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    names = parser.parse_args().settings or list(SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            _carry_out(name, Path(folder) / f"{name}.npz")
        for group in dict.fromkeys(SETTINGS[name].group for name in names):
            _compare(group, [n for n in names if SETTINGS[n].group == group], Path(folder))


def _carry_out(name: str, path: Path) -> None:
    from sweeper.modeling import kernels

    setting = SETTINGS[name]
    chosen = dict(kernels.ENVIRONMENT) if setting.arguments == KEY else {}
    dtype = "float32" if setting.arguments in (KEY, FLOAT32) else "bfloat16"
    command = [sys.executable, __file__, "--into", str(path), dtype]
    subprocess.run(command, check=True, env=os.environ | dict(setting.environment) | chosen)


def _compare(group: str, names: list[str], folder: Path) -> None:
    import numpy as np

    found = {name: dict(np.load(folder / f"{name}.npz")) for name in names}
    first = found[names[0]]
    print(f"\n{group}, against {names[0]}")
    for operation in (key for key in first if not key.endswith("_s")):
        told = [f"{float(first[f'{operation}_s']):.4f} s"]
        for name in names[1:]:
            one, two = first[operation], found[name][operation]
            share = float((one != two).mean())
            largest = float(np.abs(one - two).max() / np.abs(one).max())
            seconds = float(found[name][f"{operation}_s"])
            told.append(f"{name}: {100 * share:.2f} %, {largest:.1e}, {seconds:.4f} s")
        print(f"  {operation}: " + "; ".join(told), flush=True)


if __name__ == "__main__":
    main()

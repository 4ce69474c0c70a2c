"""Joint against sequential compression, paired by calibration seed, from a finished sweep.

    isorate run experiment=joint_vs_sequential
    python benchmarks/joint_vs_sequential.py

Prints, for each mix of sparsity and bits, word perplexity as a ratio and mean accuracy of the
multiple-choice tasks as a difference, joint over sequential, with 95 % intervals by Student's t
over the seeds (perplexities as logarithms). Documents are the same on both sides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

PERPLEXITY = "task:demo_pydoc"
ACCURACIES = [
    "task:demo_agreement",
    "task:demo_categories",
    "task:demo_endings",
    "task:demo_opposites",
]
_LABEL = re.compile(
    r"(?P<amount>[\d.]+%|\d:\d) \+ (?P<joint>joint )?(?P<bits>\d)bit"
    r"(?P<ignored> \(mask ignored\))? \[seed=(?P<seed>\d)\]"
)


def main() -> None:
    """Print the table."""
    home = Path(os.environ.get("ISORATE_HOME", "outputs"))
    table = home / "sweeps" / "joint_vs_sequential" / "report" / "tables" / "scores.csv"
    for line in lines(pd.read_csv(table)):
        print(line)


def lines(scores: pd.DataFrame) -> Iterator[str]:
    """One line for each mix and each kind of sequence."""
    found = scores["label"].str.extract(_LABEL)
    rows = pd.concat([scores, found], axis=1).dropna(subset=["amount"])
    rows["mix"] = rows["amount"] + " + " + rows["bits"] + " bit"
    rows["log_ppl"] = np.log(rows[PERPLEXITY])
    rows["accuracy"] = rows[ACCURACIES].mean(axis=1)
    for mix, of_mix in rows.groupby("mix"):
        joint = of_mix[of_mix["joint"].notna()].set_index("seed")
        for name, chosen in (
            ("kept", of_mix["ignored"].isna()),
            ("ignored", of_mix["ignored"].notna()),
        ):
            other = of_mix[of_mix["joint"].isna() & chosen].set_index("seed")
            if len(other):
                yield f"{mix}, joint / mask {name}: {_compared(joint, other)}"


def _compared(joint: pd.DataFrame, other: pd.DataFrame) -> str:
    ppl = np.exp([joint["log_ppl"].mean(), other["log_ppl"].mean()])
    ratio = np.exp(_interval(joint["log_ppl"] - other["log_ppl"]))
    accuracy = joint["accuracy"].mean(), other["accuracy"].mean()
    difference = _interval(joint["accuracy"] - other["accuracy"])
    return (
        f"perplexity {ppl[0]:.1f} / {ppl[1]:.1f}, ratio {ratio[0]:.3f} "
        f"[{ratio[1]:.3f}, {ratio[2]:.3f}]; accuracy {accuracy[0]:.3f} / {accuracy[1]:.3f}, "
        f"difference {difference[0]:+.3f} [{difference[1]:+.3f}, {difference[2]:+.3f}]; "
        f"{len(joint)} seeds"
    )


def _interval(differences: pd.Series) -> np.ndarray:
    """Mean and its 95 % interval."""
    mean, error = differences.mean(), stats.sem(differences)
    half = stats.t.ppf(0.975, len(differences) - 1) * error
    return np.array([mean, mean - half, mean + half])


if __name__ == "__main__":
    main()

"""What each matrix is given, from measured errors; kept as ``allocation.json`` of the stage."""

from __future__ import annotations

from sweeper.methods import Params
from sweeper.methods.allocation import bits as _allocated_bits
from sweeper.methods.allocation import ranks, sparsity
from sweeper.methods.profiles import LOW_RANK
from sweeper.stages import Job
from sweeper.stages.sensitivity import stage
from sweeper.store.files import read_json, write_json

FILE = "allocation.json"


def of(job: Job) -> Params:
    """What is added to the parameters of a stage whose profile is ``allocated``.

    ``bits_by_matrix`` to a quantizer, ``sparsities`` to a pruner; name of a matrix -> value.
    """
    table, params = read_json(job.inputs["sensitivity"] / stage.FILE), job.params
    if "widths" in params:
        bits = _allocated_bits.bits(table, params["bits"])
        write_json(job.out / FILE, bits)
        return {"bits_by_matrix": bits}
    low_rank = params["pattern"] == LOW_RANK
    solve = ranks.shares if low_rank else sparsity.sparsities
    shares = solve(table, params["sparsity"])
    write_json(job.out / FILE, shares)
    return {"sparsities": shares}

"""Swaps inside the descent: a kept weight goes and a pruned one comes back, their number stays.

For a pair (p, q) of one row the error changes by

    v_p (v_p H_pp - 2 G_p) + u (u H_qq + 2 (G_q - v_p H_pq)),

v_p being the value that goes and u that of the weight that comes back, the best point of its grid
once p is gone. In each pool of neighbouring columns the pair that lowers it most is swapped, where
one does. Pools are the groups of an N:M pattern, which so stays valid, or short runs of columns.
"""

from __future__ import annotations

import torch

from sweeper.methods.refinement.descent import WIDTH, Fit, block

POOL = 32
"""Columns of a pool where no pattern says."""
CANDIDATES = 4
"""Weights of a pool that may go, and that may come back: the best of each taken alone."""

_ROUNDING = 16.0
"""Units of rounding of what the weight that goes takes along, below which nothing is gained."""


def sweep(fit: Fit, nm: tuple[int, int] | None) -> int:
    """One sweep of the descent with a swap in each pool of each row; how many swaps there were.

    Args:
        fit: changed in place, its mask too.
        nm: (N, M) of the pattern, whose groups keep their number of pruned weights; None: rows do.
    """
    assert fit.pruned is not None, "nothing is pruned: there is nothing to swap"
    pool, columns, swapped = nm[1] if nm else POOL, len(fit.values), 0
    width = max(1, WIDTH // pool) * pool
    for start in range(0, columns, width):
        stop = min(start + width, columns)
        gradient = block(fit, start, stop)
        for at in range(start, stop, pool):
            # what no complete group covers is dense
            if at + pool <= columns or nm is None:
                swapped += _pool(fit, gradient, start, at, min(at + pool, stop), bool(nm))
        torch.sub(fit.values[start:stop], fit.target[start:stop], out=fit.error[start:stop])
    return swapped


def _pool(fit: Fit, gradient: torch.Tensor, start: int, first: int, last: int, whole: bool) -> int:
    """Swaps the best pair of the columns ``first`` to ``last`` in each row that has one.

    ``gradient`` is that of a block of columns from ``start``; it follows what is swapped.
    """
    assert fit.pruned is not None
    here, of_block = slice(first, last), slice(first - start, last - start)
    values, pruned, slope = fit.values[here], fit.pruned[here], gradient[of_block]
    hessian = fit.hessian[here, here]
    curve = hessian.diagonal().unsqueeze(1)
    group = torch.arange(first, last, device=values.device) // fit.group
    scale, zero = fit.scale[group], fit.zeros(group)
    most = min(CANDIDATES if not whole else 2 * CANDIDATES, last - first)

    going = (values * (values * curve - 2 * slope)).masked_fill(pruned, torch.inf)
    loss_p, p = going.topk(most, dim=0, largest=False)
    alone = fit.nearest_(-slope / curve, scale, zero)
    coming = (alone * (alone * curve + 2 * slope)).masked_fill(~pruned, torch.inf)
    kept_q, q = coming.topk(most, dim=0, largest=False)

    # [candidates to go, candidates to come back, rows]
    leaves = values.gather(0, p).unsqueeze(1)
    bend = curve.squeeze(1)[q].unsqueeze(0)
    pull = slope.gather(0, q).unsqueeze(0) - leaves * hessian[p.unsqueeze(1), q.unsqueeze(0)]
    shift = None if zero is None else zero.gather(0, q).unsqueeze(0)
    takes = fit.nearest_(-pull / bend, scale.gather(0, q).unsqueeze(0), shift)
    change = loss_p.unsqueeze(1) + takes * (takes * bend + 2 * pull)
    change += torch.where(kept_q.isinf(), torch.inf, 0.0).unsqueeze(0)
    best, pair = change.flatten(0, 1).min(dim=0)
    lost = values.gather(0, p).square_() * curve.squeeze(1)[p]
    sure = _ROUNDING * torch.finfo(best.dtype).eps * lost.gather(0, (pair // most).unsqueeze(0))[0]

    rows = (best < -sure).nonzero().flatten()
    if not len(rows):
        return 0
    chosen = pair[rows]
    out, back = p[chosen // most, rows], q[chosen % most, rows]
    gone, found = values[out, rows], takes.flatten(0, 1)[chosen, rows]
    values[out, rows], values[back, rows] = torch.zeros_like(gone), found
    pruned[out, rows], pruned[back, rows] = True, False
    of_pool = fit.hessian[start : start + len(gradient), here]
    gradient[:, rows] += of_pool[:, back] * found - of_pool[:, out] * gone
    return len(rows)

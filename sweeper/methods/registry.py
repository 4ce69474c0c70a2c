"""Every compression method by its name in the configuration: one line each.

``prune.method: wanda`` means the object ``METHOD`` of the module named here. Each has a choice
in ``conf/prune`` or ``conf/quant`` too.
"""

from __future__ import annotations

PRUNERS: dict[str, str] = {
    "asvd": "sweeper.methods.low_rank.asvd",
    "jsq": "sweeper.methods.jsq.method",
    "magnitude": "sweeper.methods.pruning.magnitude",
    "shortgpt": "sweeper.methods.depth.shortgpt",
    "sleb": "sweeper.methods.depth.sleb",
    "sparsegpt": "sweeper.methods.pruning.sparsegpt",
    "svd_llm": "sweeper.methods.low_rank.svd_llm",
    "wanda": "sweeper.methods.pruning.wanda",
}

QUANTIZERS: dict[str, str] = {
    "awq": "sweeper.methods.quantization.awq",
    "gptq": "sweeper.methods.quantization.gptq",
    "joint": "sweeper.methods.quantization.joint",
    "llm_int8": "sweeper.methods.quantization.llm_int8",
    "nf4": "sweeper.methods.quantization.nf4",
    "rtn": "sweeper.methods.quantization.rtn",
    "smoothquant": "sweeper.methods.quantization.smoothquant",
}

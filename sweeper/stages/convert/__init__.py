"""``convert``: a GGUF file becomes a plain transformers checkpoint that every stage can read."""

from sweeper.stages.convert.stage import run

__all__ = ["run"]

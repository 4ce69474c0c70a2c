"""Every key is documented, typed and known by name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from sweeper.config import docs, schema

DOCS = Path(__file__).parents[3] / "docs"


def test_every_key_says_what_it_means():
    sections = [schema.Config, *(schema.nested(f.type) for f in fields(schema.Config))]
    for section in filter(None, sections):
        for item in fields(section):
            assert schema.nested(item.type) or item.metadata["help"], item.name


def test_the_reference_is_what_the_schema_says():
    assert (DOCS / "configuration.md").read_text() == docs.markdown(), "run: make docs"


def test_valid_keys_are_dotted():
    keys = schema.valid_keys()
    assert {"prune.sparsity", "model.architecture.hidden_size", "home"} <= set(keys)

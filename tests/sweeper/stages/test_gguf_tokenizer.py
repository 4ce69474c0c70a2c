"""Pieces with scores: the union of two neighbours with the highest score is formed first."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.stages.convert import tokenizer

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
BYTES = [f"<0x{n:02X}>" for n in range(256)]
USER = ["  ", "\n", "\n\n", "<b>"]
LETTERS = list("▁abcd")
UNIONS = "ab bc cd abc ▁a ▁ab dd dda bcd abcd aa aaa ▁▁a ca".split()
PIECES = [*SPECIAL, *USER, *BYTES, *UNIONS, *LETTERS]


def vocabulary(scores: list[float], *, begins: bool = True) -> tokenizer.Vocabulary:
    kinds = [3] * 4 + [4] * len(USER) + [6] * 256 + [1] * (len(UNIONS) + len(LETTERS))
    own = [0.0] * (4 + len(USER) + 256) + scores + [-100.0 - n for n in range(len(LETTERS))]
    return tokenizer.Vocabulary(
        pieces=PIECES,
        scores=own,
        kinds=kinds,
        special={"pad_token": 0, "eos_token": 1, "bos_token": 2, "unk_token": 3},
        begins=begins,
        space_first=False,
        chat_template=None,
    )


def reference(text: str, given: tokenizer.Vocabulary) -> list[str]:
    """llama.cpp's rule, as slowly as it can be said, for text without pieces of the user."""
    score = {piece: given.scores[n] for n, piece in enumerate(given.pieces) if given.kinds[n] == 1}
    parts = list(text.replace(" ", "▁"))
    while True:
        unions = [
            (-score[a + b], at)
            for at, (a, b) in enumerate(itertools.pairwise(parts))
            if a + b in score
        ]
        if not unions:
            return parts
        _, at = min(unions)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@settings(max_examples=60)
@given(
    st.permutations(range(len(UNIONS))),
    st.lists(st.text("abcd", min_size=1, max_size=6), min_size=1, max_size=4),
)
def test_unions_are_formed_in_the_order_of_their_scores(order: list[int], words: list[str]) -> None:
    given, text = vocabulary([-float(n) for n in order]), " ".join(words)
    own = tokenizer.build(given)
    ids = own(text)["input_ids"]
    assert own.convert_ids_to_tokens(ids) == ["<bos>", *reference(text, given)]
    assert own.decode(ids, skip_special_tokens=True) == text


def test_pieces_of_the_user_bytes_and_the_beginning() -> None:
    own = tokenizer.build(vocabulary([-float(n) for n in range(len(UNIONS))]))
    text = "ab  c\n\n\n<b>é"
    found = own.convert_ids_to_tokens(own(text)["input_ids"])
    assert found == [
        *("<bos>", "ab", "  ", "c", "\n\n", "\n", "<b>"),
        *("<0xC3>", "<0xA9>"),
    ]
    assert own.decode(own(text)["input_ids"], skip_special_tokens=True) == text
    plain = tokenizer.build(vocabulary([0.0] * len(UNIONS), begins=False))
    assert plain.convert_ids_to_tokens(plain("b")["input_ids"]) == ["b"]

"""The tokenizer of a GGUF file whose pieces have scores, built as llama.cpp reads it.

Such a file (``tokenizer.ggml.model`` is "llama") has SentencePiece's byte-pair encoding: of all
neighbours whose union is a piece, the union with the highest score is formed first. Of Gemma's
files transformers makes a Unigram model instead, which takes the scores for log-probabilities and
splits "capital" into "c", "ap", "it", "al"; and it forgets that a text begins with ``<bos>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from sweeper.modeling import gguf_header

_NORMAL, _CONTROL, _USER = 1, 3, 4  # kinds of token in GGUF
_SPACE = "▁"
_OWN, _TEMPLATE = "tokenizer.ggml.", "tokenizer.chat_template"
_ARRAYS = ("tokens", "scores", "token_type")
# GGUF's name -> (ours, what llama.cpp takes where the file does not say)
_IDS: Mapping[str, tuple[str, int | None]] = {
    "bos_token_id": ("bos_token", 1),
    "eos_token_id": ("eos_token", 2),
    "unknown_token_id": ("unk_token", 0),
    "padding_token_id": ("pad_token", None),
}
_FLAGS = {"add_bos_token": "begins", "add_space_prefix": "space_first"}  # true if not said


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What a GGUF file says of its tokens.

    Attributes:
        pieces: the text of each token by its number.
        scores: which union is formed first: the highest.
        kinds: GGUF's token types.
        special: "bos_token" and the like -> the number of the token.
        begins: whether a text begins with the bos token.
        space_first: whether a text is given a space in front.
        chat_template: how a conversation is written; None without one.
    """

    pieces: Sequence[str]
    scores: Sequence[float]
    kinds: Sequence[int]
    special: Mapping[str, int]
    begins: bool
    space_first: bool
    chat_template: str | None

    def merges(self) -> list[tuple[str, str]]:
        """The unions of two pieces, those of the highest score first."""
        number = {piece: n for n, piece in enumerate(self.pieces) if self.kinds[n] != _CONTROL}
        found: list[tuple[float, int, int, str, str]] = []
        for n, piece in enumerate(self.pieces):
            if self.kinds[n] != _NORMAL:
                continue
            for cut in range(1, len(piece)):
                left, right = piece[:cut], piece[cut:]
                if left in number and right in number:
                    found.append((-self.scores[n], number[left], number[right], left, right))
        return [(left, right) for *_, left, right in sorted(found)]


def read(path: Path) -> Vocabulary:
    """The vocabulary of a GGUF file."""
    names = (*_ARRAYS, *_IDS, *_FLAGS)
    found = gguf_header.values(path, {_OWN + name for name in names} | {_TEMPLATE})
    own: dict[str, Any] = {name: found.get(_OWN + name) for name in names}
    ids = {_IDS[name][0]: _IDS[name][1] if own[name] is None else own[name] for name in _IDS}
    flags = {field: own[name] is not False for name, field in _FLAGS.items()}
    pieces, scores, kinds = (own[name] for name in _ARRAYS)
    return Vocabulary(
        pieces=pieces,
        scores=scores,
        kinds=kinds,
        special={name: n for name, n in ids.items() if n is not None},
        chat_template=found.get(_TEMPLATE),
        **flags,
    )


def build(given: Vocabulary) -> PreTrainedTokenizerFast:
    """A tokenizer that splits text as llama.cpp does with these pieces and scores."""
    special = {name: given.pieces[n] for name, n in given.special.items()}
    raw = Tokenizer(
        models.BPE(
            vocab={piece: n for n, piece in enumerate(given.pieces)},
            merges=given.merges(),
            unk_token=special["unk_token"],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    steps: list[Any] = [normalizers.Prepend(_SPACE)] if given.space_first else []
    raw.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    ends: list[Any] = [decoders.Strip(" ", 1, 0)] if given.space_first else []
    raw.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )
    if given.begins:
        bos = special["bos_token"]
        raw.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, given.special["bos_token"])],
        )
    # the spaces, line ends and tags among them are found in the text before anything is merged
    kinds = zip(given.pieces, given.kinds, strict=True)
    added = [(piece, kind) for piece, kind in kinds if kind in (_CONTROL, _USER)]
    raw.add_special_tokens([AddedToken(p, normalized=False) for p, k in added if k == _CONTROL])
    raw.add_tokens([AddedToken(p, normalized=False) for p, k in added if k == _USER])
    made = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    made.chat_template = given.chat_template
    return made

"""The tokenizer that lies beside a checkpoint, as its file says, whatever class its config names.

transformers rebuilds some tokenizers from the class that ``tokenizer_config.json`` names. Where
that class is of another family than ``tokenizer.json`` (a byte-level one called a Llama's, say),
text is silently split in another way than the model was trained with. The file is right.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sweeper.errors import StageFailure

SENTENCES = (
    "The quick brown fox jumps over 13 lazy dogs, doesn't it?",
    "  two  spaces,\ta tab\nand a new line ",
    "naïve café — 日本語 и русский текст",
    "def f(x):\n    return x[0] + 1234567890",
)
"""What both encodings are compared on: words, white space, other scripts, code and digits."""

log = logging.getLogger(__name__)


def load(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint directory.

    Raises:
        StageFailure: it cannot be loaded such that it splits text as its file says.
    """
    how = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    found = AutoTokenizer.from_pretrained(folder, **how)
    if agrees(found, folder):
        return found
    log.warning(
        "%s: tokenizer_config.json names a class that splits text in another way than "
        "tokenizer.json; the file is used",
        folder,
    )
    found = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    if not agrees(found, folder):
        raise StageFailure(
            f"the tokenizer of {folder} does not split text as its tokenizer.json says, in any "
            "way that transformers loads it. Fetch its tokenizer files again."
        )
    return found


def agrees(tokenizer: Any, folder: Path) -> bool:
    """Whether a loaded tokenizer splits text as the file in ``folder`` does; true without one."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return True
    stored = Tokenizer.from_file(str(file))
    stored.no_truncation()
    stored.no_padding()
    return all(
        tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        == stored.encode(text, add_special_tokens=False).ids
        for text in SENTENCES
    )

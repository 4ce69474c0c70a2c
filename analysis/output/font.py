"""The typeface of the figures: DejaVu Sans with the glyphs they use, quick to shape and to embed.

Shaping a text and embedding a font in a PDF both work through every layout rule of the font; for
labels in Latin and Greek letters these rules do nothing, and without them a figure costs less.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from functools import lru_cache
from typing import Any

FULL = "DejaVu Sans"
NAME = "Isorate Sans"
# Latin with its accents, Greek, punctuation, arrows, signs: the rest is drawn in the full font.
_LETTERS = (
    *range(0x20, 0x180),
    *range(0x370, 0x400),
    *range(0x2000, 0x2070),
    *range(0x2190, 0x2280),
)
_RULES = ("GSUB", "GPOS", "GDEF", "kern", "FFTM", "MATH")
_FAMILY, _POSTSCRIPT = (1, 4, 16), 6  # numbers of names in a font


@lru_cache(maxsize=1)
def families() -> list[str]:
    """The families that figures are drawn in, the first that has a letter draws it."""
    from matplotlib import font_manager

    file, path = tempfile.mkstemp(prefix="isorate-", suffix=".ttf")
    os.close(file)
    atexit.register(_remove, path, os.getpid())
    with _reduced(font_manager.findfont(FULL)) as font:
        font.save(path)
    font_manager.fontManager.addfont(path)
    return [NAME, FULL]


def _reduced(path: str) -> Any:
    """The font of a file with `_LETTERS` and no rules, under its own name, as its licence asks."""
    from fontTools import subset

    options = subset.Options(
        drop_tables=[*subset.Options().drop_tables, *_RULES],
        glyph_names=True,
        notdef_outline=True,
        name_IDs=["*"],
    )
    font = subset.load_font(path, options)
    reducer = subset.Subsetter(options)
    reducer.populate(unicodes=_LETTERS)
    reducer.subset(font)
    for record in font["name"].names:
        if record.nameID in _FAMILY:
            record.string = NAME
        elif record.nameID == _POSTSCRIPT:
            record.string = NAME.replace(" ", "")
    return font


def _remove(path: str, owner: int) -> None:
    """Delete the file, but not from a process that was forked off its owner."""
    if os.getpid() == owner:
        os.unlink(path)

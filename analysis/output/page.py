"""What the pages share: their templates, drawings inside of them, provenance as lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from analysis.output.figure import Figure, Spot
from analysis.output.font import NAME

_GLYPHS = NAME.replace(" ", "") + "-"
_UNUSED = r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>"
_SPOT = Markup('<circle class="spot" cx="{}" cy="{}" r="5"><title>{}</title></circle>')
_POINT = Markup('<path d="M{} {}{}"><title>{}</title></path>')
# A dot and a square are ends of a line without length.
MARKS = {"laborde2025": "h0", "jsq2024": "h0", "mpt": "m-2.5 0h5m-2.5-2.5v5"}
PAPER_LINKS = {"arXiv:2505.07289": "https://arxiv.org/abs/2505.07289"}
"""The paper whose definitions a report uses -> its address, for a reader who follows it."""

# What is drawn in a fixed colour follows the page: ink, paper and lines have names in its style.
_INK = {
    "#000000": "--ink",
    "#ffffff": "--paper",
    "#e6e6e6": "--grid",
    "#888888": "--soft",
    "#999999": "--faint",
    "#666666": "--soft",
    "#0072b2": "--quantized",
    "#009e73": "--pruned",
    "#d55e00": "--joint",
}
_COLOUR = re.compile(r"(?<=: )(?:" + "|".join(_INK) + r")\b")


def template(name: str) -> Template:
    """One of the templates beside this module; texts are escaped, and a missing name fails."""
    environment = Environment(
        loader=PackageLoader("analysis.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def inline(figure: Figure, index: int) -> Markup:
    """The drawing for use inside a page: no prolog, and ids that no other drawing has."""
    svg = figure.svg.decode()
    # A style sheet in a drawing holds for the whole page: the page's own has what it says.
    svg = re.sub(_UNUSED, "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(
        r' (?:d|x|y|transform)="(?!scale)[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg
    )  # a hundredth of a point is finer than any screen
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    # Nothing reaches beyond its axes; shorter names make a page of many drawings lighter.
    svg = re.sub(r' clip-path="[^"]*"', "", svg).replace(_GLYPHS, "g")
    svg = svg.replace("xlink:href", "href").replace("stroke-linejoin: miter", "")
    svg = _COLOUR.sub(lambda m: f"var({_INK[m[0]]})", svg)
    used = set(re.findall(r'href="#([^"]+)"', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{index}-", svg)
    label = Markup('<svg role="img" aria-label="{}" ').format(figure.caption)
    # Drawn by ourselves with text as outlines: nothing of the user's is markup in here.
    end = svg.rindex("</svg>")
    spots = Markup("").join(_SPOT.format(*spot) for spot in figure.spots)
    spots += Markup("").join(_beside(paper, each) for paper, each in figure.published.items())
    return Markup(svg[:end].replace("<svg ", str(label), 1) + str(spots) + svg[end:])


def _beside(paper: str, spots: Sequence[Spot]) -> Markup:
    """Published points, hidden until a reader asks for them."""
    points = Markup("").join(_POINT.format(x, y, MARKS[paper], said) for x, y, said in spots)
    return Markup('<g class="published {}">{}</g>').format(paper, points)


def flat(provenance: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """A tree as sorted lines: dotted path and text."""
    lines: list[tuple[str, str]] = []
    for key in sorted(provenance, key=str):
        value = provenance[key]
        if isinstance(value, Mapping):
            lines += flat(value, f"{prefix}{key}.")
        else:
            said = value if isinstance(value, str) else json.dumps(value, default=str)
            lines.append((f"{prefix}{key}", said))
    return lines

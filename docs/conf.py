"""The manual: `make site` builds it from these pages and from the docstrings of the code."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

project, author, copyright = "Isorate", "the Isorate authors", "the Isorate authors"
version = release = installed("isorate")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme, html_title = "furo", f"Isorate {version}"
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
html_show_sphinx = False

# Links between pages and to headings are checked: one that leads nowhere ends the build.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # its outputs are stored; `make notebook` renews them

# The code is imported to be read, its heavy libraries are not.
autodoc_mock_imports = [
    "bitsandbytes",
    "compressed_tensors",
    "datasets",
    "gguf",
    "huggingface_hub",
    "llmcompressor",
    "lm_eval",
    "mlflow",
    "safetensors",
    "sqlalchemy",
    "submitit",
    "torch",
    "transformers",
    "vllm",
]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # an attribute is described once, with its class
default_role = "code"
# Docstrings are read in editors too: their lists and trees need not be perfect reStructuredText.
# "(model, label) -> keys" names no one object.
suppress_warnings = ["docutils", "autodoc.mocked_object", "ref.python"]

REFERENCE: dict[str, tuple[str, tuple[str, ...]]] = {
    "isorate": (
        "What a notebook or a script imports; [an example](../../tutorial/notebook.ipynb).",
        ("isorate", "isorate.pinning", "isorate.start"),
    ),
    "metrics": (
        "TCr, retention, Sr and SrCr, as formulas on arrays, and what they are computed from.",
        ("analysis.metrics", "analysis.data.results", "analysis.data.panel", "analysis.errors"),
    ),
    "statistics": (
        "Standard errors, intervals and what a comparison rests on.",
        tuple(
            f"analysis.statistics.{found.name}"
            for found in pkgutil.iter_modules([str(ROOT / "analysis" / "statistics")])
        ),
    ),
    "comparison": (
        "From scores to tables and verdicts.",
        (
            "analysis.comparison.summary",
            "analysis.comparison.verdicts",
            "analysis.comparison.two_cells",
            "analysis.output.table",
        ),
    ),
    "plans": (
        "Cells, stages, keys, plans: values that touch nothing.",
        (
            "sweeper.planning.plan",
            "sweeper.planning.record",
            "sweeper.planning.formats",
            "sweeper.planning.sweep",
            "sweeper.errors",
        ),
    ),
    "results": (
        "From the store to rows.",
        (
            "sweeper.store.reader",
            "sweeper.store.manifest",
            "sweeper.results.outcomes",
            "sweeper.results.tables",
            "sweeper.results.cell_table",
        ),
    ),
    "extending": (
        "The contracts of what can be added: a method, a stage, a backend, a launcher.",
        (
            "sweeper.methods",
            "sweeper.stages",
            "sweeper.stages.evaluate.requests",
            "launchers.base",
            "launchers.schedule",
        ),
    ),
}
"""Page of the reference -> what it is about, and the modules whose docstrings it shows."""


def _write_reference(_: Sphinx) -> None:
    """The pages of the reference, and one for the verbs, below docs/reference/generated."""
    from sweeper.cli.commands import NAMED, VERBS

    folder = HERE / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"commands.md": _commands(VERBS, NAMED)}
    wanted |= {f"{name}.md": _page(name, *about) for name, about in REFERENCE.items()}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _page(name: str, does: str, modules: tuple[str, ...]) -> str:
    title = name if name == "isorate" else name.capitalize()
    lines = [f"# {f'`{title}`' if name == 'isorate' else title}", "", does, ""]
    for module in modules:
        if module != name:
            lines += [f"## `{module}`", ""]
        lines += ["```{eval-rst}", f".. automodule:: {module}", "```", ""]
    return "\n".join(lines)


def _commands(verbs: Mapping[str, str], named: tuple[str, ...]) -> str:
    rows = [
        f"| `isorate {verb}{' [NAME]' if verb in named else ''}` | {does} |"
        for verb, does in verbs.items()
    ]
    return "\n".join(
        [
            "# Commands",
            "",
            "Every command takes `key=value` arguments ([all keys](../../configuration.md));",
            "`isorate help VERB` says more. NAME is a sweep of the home.",
            "",
            "| command | what it does |",
            "|---|---|",
            *rows,
            "",
            "Exit status: 0 all cells done, 1 some cells failed or are missing, 2 bad input and",
            "nothing was started, 130 interrupted.",
            "",
        ]
    )


def _inside(_: Sphinx, __: str, source: list[str]) -> None:
    """Pages link to files of the checkout's root; here those are pages of the manual."""
    for name in ("CONTRIBUTING", "CHANGELOG"):
        source[0] = source[0].replace(f"](../{name}.md", f"]({name.lower()}.md")


_SEVERAL = re.compile(r"^(\s+)(\w+(?:, \w+)+): (.*)")


def _one_by_one(*event: Any) -> None:
    """Attributes that a docstring tells of together, as "a, b: text", each get a line."""
    lines: list[str] = event[-1]
    told = []
    for line in lines:
        found = _SEVERAL.match(line)
        if found is None:
            told.append(line)
            continue
        *others, last = found[2].split(", ")
        told += [f"{found[1]}{name}: see `{last}`." for name in others]
        told.append(f"{found[1]}{last}: {found[3]}")
    lines[:] = told


def _as_it_stands(_: Sphinx, document: Any) -> None:
    """What is no reStructuredText in a docstring ("a * b") is shown as it stands there."""
    from docutils import nodes

    for wrong in list(document.findall(nodes.problematic)):
        wrong.replace_self(nodes.literal(text=wrong.astext()))


def setup(app: Sphinx) -> None:
    """Sphinx's own entry."""
    app.connect("doctree-read", _as_it_stands)
    app.connect("autodoc-process-docstring", _one_by_one, priority=100)  # before napoleon
    app.connect("builder-inited", _write_reference)
    app.connect("source-read", _inside)

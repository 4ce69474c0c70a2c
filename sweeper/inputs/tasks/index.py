"""Every task that the installed lm-eval ships, by name, without importing it.

lm-eval reads its 14,000 task files into an index at each start (9 CPU seconds). Here the
files are read once per version of lm-eval (5 CPU seconds) and the index is cached.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FORMAT = 3
# Not data sets but readers of files, which `datasets` takes in the same place.
FORMATS = (
    "json",
    "csv",
    "text",
    "parquet",
    "arrow",
    "pandas",
    "xml",
    "imagefolder",
    "audiofolder",
)
Entry = dict[str, Any]
Index = dict[str, Entry]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C or Python
    """Reads task files; a ``!function module.name`` becomes that string, nothing is imported."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def version() -> str:
    """The installed version of lm-eval."""
    return importlib.metadata.version("lm_eval")


def directory() -> Path:
    """The folder of lm-eval's own task files."""
    return _package() / "tasks"


def _package() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def read_yaml(path: Path) -> Any:
    """One task file as it is written, includes not resolved."""
    return yaml.load(path.read_bytes(), Loader=_Loader)


def merged(path: Path, known: dict[Path, dict[str, Any]] | None = None) -> dict[str, Any]:
    """A task file with its includes; what the file itself says wins, as in lm-eval.

    ``known`` keeps the included files: hundreds of tasks share one template.
    """
    known = {} if known is None else known
    config = dict(read_yaml(path))
    include = config.pop("include", [])
    whole: dict[str, Any] = {}
    for name in include if isinstance(include, list) else [include]:
        part = path.parent / name
        if part not in known:
            known[part] = merged(part, known)
        whole.update(_without_members(known[part]))
    return {**whole, **config}


def _without_members(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "task_list"}


def scan(root: Path) -> Index:
    """All tasks, groups and tags below ``root``.

    Returns:
        name -> {"kind": "task", "path": relative, "version": ..., "output_type": ...,
        "data": what it reads from the hub or None, "metrics": [[name, direction], ...]},
        {"kind": "group", "members": [...], "overrides": bool, "pooled": bool} or
        {"kind": "tag", "members"}.
        The first file (by path) that defines a name counts.
    """
    index: Index = {}
    tags: dict[str, set[str]] = {}
    for path, config in _files(root):
        kind = _kind(config)
        name = config.get("group" if kind == "group" else "task")
        if not isinstance(name, str) or name in index:
            continue
        relative = path.relative_to(root).as_posix()
        if kind == "group":
            index[name] = _group(config)
        else:
            index[name] = _task(config, relative)
            for tag in _strings(config.get("tag")):
                tags.setdefault(tag, set()).add(name)
    for tag, members in tags.items():
        index.setdefault(tag, {"kind": "tag", "members": sorted(members), "overrides": False})
    return index


def _files(root: Path, containing: str = "") -> Iterator[tuple[Path, dict[str, Any]]]:
    paths = sorted(root.glob("**/*.yaml"), key=lambda path: path.as_posix())
    known: dict[Path, dict[str, Any]] = {}
    for path in paths:
        if ".ipynb_checkpoints" in path.parts or containing.encode() not in path.read_bytes():
            continue
        try:
            yield path, merged(path, known)
        except (yaml.YAMLError, OSError, TypeError, ValueError):
            continue  # fragments that are only ever included; lm-eval skips them too


def _kind(config: Mapping[str, Any]) -> str:
    """A Python task ("class") may name a group as well; it is still a task."""
    return "group" if "group" in config and "class" not in config else "task"


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _task(config: Mapping[str, Any], path: str) -> Entry:
    metadata = config.get("metadata")
    return {
        "kind": "task",
        "path": path,
        "version": metadata.get("version") if isinstance(metadata, dict) else None,
        "output_type": config.get("output_type"),
        "data": _data(config),
        "metrics": _metrics(config),
    }


def _data(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data set of the hub that a task file names; None if it names none, or a local one."""
    identifier, options = config.get("dataset_path"), config.get("dataset_kwargs") or {}
    if "custom_dataset" in config or not isinstance(identifier, str) or identifier in FORMATS:
        return None
    if identifier.startswith((".", "/", "~")):
        return None
    options = {
        name: options[name] for name in ("data_files", "data_dir", "revision") if name in options
    }
    return {"id": identifier, "name": config.get("dataset_name"), **options}


def _metrics(config: Mapping[str, Any]) -> list[list[Any]]:
    """Each metric that a task lists, with whether higher is better (None: it does not say)."""
    listed = config.get("metric_list")
    entries = listed if isinstance(listed, list) else []
    return [
        [str(entry.get("metric")), entry.get("higher_is_better")]
        for entry in entries
        if isinstance(entry, dict)
    ]


def _group(config: Mapping[str, Any]) -> Entry:
    """Members by name.

    ``overrides`` if the group changes them (then the name is not enough), ``pooled`` if its
    scores are means over all documents of its members.
    """
    members = config.get("task")
    items = [members] if isinstance(members, str) else list(members or [])
    names, changed = [], False
    for entry in items:
        if isinstance(entry, dict):
            names.append(str(entry.get("task", entry.get("group"))))
            changed = changed or len(entry) > 1 or not isinstance(entry.get("task"), str)
        else:
            names.append(str(entry))
    known = {"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag"}
    listed = config.get("aggregate_metric_list")
    means = [listed] if isinstance(listed, dict) else list(listed or [])
    return {
        "kind": "group",
        "members": names,
        "overrides": changed or bool(set(config) - known),
        "pooled": bool(means) and all(_by_size(mean) for mean in means),
    }


def _by_size(mean: Mapping[str, Any]) -> bool:
    """Whether a metric of a group is a mean over documents, which is what lm-eval presumes."""
    return mean.get("aggregation", "mean") == "mean" and bool(mean.get("weight_by_size", True))


def stock(cache_dir: Path) -> Index:
    """The index of the installed lm-eval, from ``cache_dir`` or made and left there."""
    path = cache_dir / f"lm-eval-{version()}-tasks-{FORMAT}.json"
    try:
        index: Index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or cut short
        index = scan(directory())
        cache_dir.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(index), encoding="utf-8")
        os.replace(partial, path)
    return index


@cache
def directions() -> dict[str, bool]:
    """lm-eval's own metrics: whether higher is better; read from its source, not imported."""
    return {name: bool(better) for name, better in _registered("higher_is_better").items()}


@cache
def aggregations() -> dict[str, str]:
    """lm-eval's own metrics: what makes a score of the documents' values; as `directions`."""
    return {name: str(how) for name, how in _registered("aggregation").items()}


def _registered(argument: str) -> dict[str, Any]:
    """Metric -> what it was registered with under this name."""
    tree = ast.parse((_package() / "api" / "metrics.py").read_bytes())
    found = {}
    for function in tree.body:
        for call in getattr(function, "decorator_list", []):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "register_metric":
                named = {word.arg: word.value for word in call.keywords}
                metric, value = named.get("metric"), named.get(argument)
                if isinstance(metric, ast.Constant) and isinstance(value, ast.Constant):
                    found[str(metric.value)] = value.value
    return found


@cache
def path_of(name: str) -> Path | None:
    """The file of lm-eval's own task ``name``; only files that contain the name are parsed."""
    for path, config in _files(directory(), containing=name):
        if _kind(config) == "task" and config.get("task") == name:
            return path
    return None

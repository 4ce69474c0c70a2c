"""What the hub has (commits, sizes), and whether what was fetched of it can be loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from sweeper.errors import BadInput
from sweeper.inputs import datasets, hub_cache, loadable
from sweeper.inputs.sources import UNUSED
from sweeper.modeling import directory

# Downloaded once, and once more as the table that is read.
_PREPARED = 2


def commit(kind: str, name: str, revision: str) -> str:
    """The commit that a revision of a repository means now."""
    found = HfApi().repo_info(name, repo_type=kind.removesuffix("s"), revision=revision).sha
    return str(found)


def model_bytes(name: str, revision: str) -> int:
    """Bytes of a model's files that are not here yet."""
    entries = HfApi().list_repo_tree(name, revision=revision, recursive=True)
    wanted = [entry for entry in entries if not any(fnmatch(entry.path, p) for p in UNUSED)]
    return _lacking("models", name, revision, wanted)


def data_bytes(name: str, revision: str, options: Mapping[str, Any]) -> int:
    """Bytes that a data set takes on the disk, downloaded and prepared; 0 if it is here.

    Args:
        name: the hub id.
        revision: a commit.
        options: "name" and "data_files" for `datasets`.
    """
    from datasets import load_dataset_builder

    if hub_cache.is_prepared(hub_cache.prepared(name, revision, options)):
        return 0
    builder = load_dataset_builder(name, revision=revision, **options)
    prefix = f"hf://datasets/{name}@{revision}/"
    urls = [url for part in (builder.config.data_files or {}).values() for url in part]
    paths = [url.removeprefix(prefix) for url in urls if url.startswith(prefix)]
    entries = HfApi().get_paths_info(name, paths, revision=revision, repo_type="dataset")
    return _PREPARED * _lacking("datasets", name, revision, entries)


def _lacking(kind: str, name: str, revision: str, entries: Iterable[Any]) -> int:
    here = hub_cache.snapshot(kind, name, revision)
    sizes = [
        entry.size
        for entry in entries
        if getattr(entry, "size", None) and not (here and (here / entry.path).exists())
    ]
    return sum(sizes)


def check_model(folder: Path, *, trust_remote_code: bool) -> None:
    """Build a model without its weights and its tokenizer, and open each file of the weights.

    Raises:
        BadInput: there are no weights that transformers loads, or one file is cut short.
    """
    from safetensors import SafetensorError, safe_open

    name = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    loadable.checked(folder, "model.id", name, trust=trust_remote_code)
    for file in directory.weights(folder):
        try:
            with safe_open(file, framework="np") as tensors:
                tensors.keys()
        except SafetensorError as error:
            raise BadInput(
                "model.id",
                file.name,
                f"this file of the model is damaged ({error}).",
                f"Delete {file.resolve()} and run `isorate prefetch` again.",
            ) from error


def check_text(need: Mapping[str, Any], revision: str) -> None:
    """Load a calibration text as the stages will.

    Raises:
        BadInput: it lacks the column.
    """
    found = datasets.load_dataset(
        need["id"],
        name=need["subset"],
        data_files=need["data_files"],
        revision=revision,
        split=need["split"],
    )
    if need["field"] not in found.column_names:
        raise BadInput(
            "calibration.field",
            need["field"],
            f"valid: {', '.join(found.column_names)}, the columns of {need['id']}.",
        )

"""A home's MLflow database says where its files are; of a moved or copied home it must say anew.

MLflow keeps absolute addresses. In a copy they are those of the original, so that whatever is
written into the copy would change the original's files.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ROOTED = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns with addresses of files."""
_WAIT_S = 5.0


def rebase(database: Path, artifacts: Path) -> Path | None:
    """Let the database of a home name the files beside it; those of another place stay as named.

    Args:
        database: MLflow's SQLite database.
        artifacts: the absolute directory that holds the files of its runs now.

    Returns:
        Where the files were when the database was made, if that was not here; None if nothing
        had to be changed.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    with closing(sqlite3.connect(database, timeout=_WAIT_S, isolation_level=None)) as opened:
        was, now = _made_at(opened), artifacts.as_uri()
        if was is None or was == now or _same(_path(was), artifacts):
            return None
        opened.execute("BEGIN IMMEDIATE")
        for table, column in _ROOTED:
            if column in {row[1] for row in opened.execute(f"PRAGMA table_info({table})")}:
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (f"{now}/", len(was) + 2, len(was) + 1, f"{was}/"),
                )
        opened.execute("COMMIT")
        return _path(was)


def _made_at(opened: sqlite3.Connection) -> str | None:
    """The address that the artifacts of a home had: MLflow's own experiment 0 keeps it."""
    row = opened.execute(
        "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
    ).fetchone()
    ours = row and row[0] and row[0].startswith("file:///") and row[0].endswith("/mlartifacts/0")
    return str(row[0]).removesuffix("/0") if ours else None


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _same(one: Path, other: Path) -> bool:
    """Whether two names, such as the mounts of two hosts, are of one directory."""
    try:
        return one.samefile(other)
    except OSError:
        return False

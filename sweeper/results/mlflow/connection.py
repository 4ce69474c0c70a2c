"""The way to MLflow: which store, whether anything answers there, a client that gives up soon."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import ssl
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from sweeper.results.mlflow import moved_home
from sweeper.store import files, process_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONNECT_S = 5.0

log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Standard output belongs to the command's own answer.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # With MLflow's own 7 retries one call to a dead server blocks for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CHATTY = ("alembic", "mlflow.store.db.utils", "mlflow.tracking")


class Unreachable(Exception):
    """Nothing can be written at the tracking URI; the message says what was tried."""


def default_uri(home: Path) -> str:
    """The store of a home: SQLite, beside its outputs."""
    return _sqlite(home.resolve() / "mlflow.db")


def _sqlite(path: Path) -> str:
    """A URI of a database; in a path `%41` and `?` would mean something else."""
    return f"sqlite:///{str(path).translate({ord(c): f'%{ord(c):02X}' for c in '%?#'})}"


def artifact_root(uri: str, home: Path) -> str | None:
    """Where a store of files keeps artifacts; None where a server decides."""
    if uri != default_uri(home):
        return None
    return (home.resolve() / "mlartifacts").as_uri()


def connect(uri: str, home: Path) -> MlflowClient:
    """A client that gives up within seconds; what the user's environment sets stays.

    The database of a home that was moved or copied is made to name the files where they are now.

    Raises:
        Unreachable: nothing answers, or the database is locked or cannot be written.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri == default_uri(home):
        _initialise(home)
    _probe(uri)
    if uri == default_uri(home):
        _settle(home.resolve())
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _probe(uri: str) -> None:
    parts = urlsplit(uri)
    scheme = parts.scheme.split("+")[0]
    if scheme == "sqlite":
        _probe_sqlite(unquote(uri.split(":///", 1)[-1]))
    elif scheme in ("http", "https"):
        _probe_http(f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health")
    elif scheme in _PORTS and parts.hostname:
        _probe_port(parts.hostname, parts.port or _PORTS[scheme])


def _probe_http(url: str) -> None:
    """Any answer will do, a refusal too; one that accepts and stays silent will not."""
    try:
        urlopen(url, timeout=CONNECT_S).close()
    except HTTPError as answer:
        answer.close()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        # Certificates are the business of MLflow and its own settings.
        if not isinstance(reason, ssl.SSLError):
            raise Unreachable(f"nothing answers at {url} ({reason})") from error


def _probe_port(host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        raise Unreachable(f"nothing answers at {host}:{port} ({error})") from error


def _probe_sqlite(path: str) -> None:
    """MLflow would wait 20 s for a locked database, at every call."""
    try:
        with closing(sqlite3.connect(path, timeout=CONNECT_S, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise Unreachable(f"{path}: {error}") from error


def _initialise(home: Path) -> None:
    """Make the database aside and link it into place: many at once would break its migration."""
    target = home.resolve() / "mlflow.db"
    if target.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Where `gc` looks for what a killed process left behind.
    aside = target.parent / "store" / "tmp" / f"mlflow-db.{process_id.new_id()}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = SqlAlchemyStore(_sqlite(aside), str(artifact_root(default_uri(home), home)))
        made.engine.dispose()
        files.follow_umask(aside)  # SQLite keeps others from writing it
        _publish(aside, target)
    finally:
        files.remove(aside)


def _settle(home: Path) -> None:
    """Let the database name the files of this home, wherever it was made."""
    try:
        before = moved_home.rebase(home / "mlflow.db", home / "mlartifacts")
    except sqlite3.Error as error:
        raise Unreachable(f"{home / 'mlflow.db'}: {error}") from error
    if before is not None:
        log.info(
            "this home was made in %s: MLflow's runs now name their files in %s",
            before.parent,
            home,
        )


def _publish(made: Path, target: Path) -> None:
    """Give a file its name unless another process was first."""
    try:
        os.link(made, target)
    except OSError:  # it exists, or this file system has no links
        if not target.exists():
            made.rename(target)

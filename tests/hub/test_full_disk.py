"""A disk that fills up while the hub's files are fetched or data sets are prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub import serving
from tests.hub.conftest import Isorate

HOOK = """
import errno, os, sys
if "sweeper.worker.prefetch" in sys.orig_argv:
    exec({fault!r})
"""
# Stand in front of what writes, in the process that fetches.
DOWNLOAD = """
import huggingface_hub.file_download as download
def full(url, temp_file, **_):
    temp_file.write(b"half of it")
    temp_file.flush()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
download.http_get = full
"""
PREPARE = """
from datasets.arrow_writer import ArrowWriter
def full(self, *_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
ArrowWriter.write_table = full
"""
WORDS = (
    "name=full",
    "model=custom",
    "model.id=tiny/llama",
    "model.group_size=32",
    "quant.bits=16",
    "tasks.path=null",
    "tasks.names=[ptb_ppl2048]",
    "calibration.samples=4",
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", [DOWNLOAD, PREPARE], ids=["download", "prepare"])
def test_it_is_one_message_and_the_next_prefetch_is_whole(
    root: Path, tmp_path: Path, isorate: Isorate, fault: str
) -> None:
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/sitecustomize.py").write_text(HOOK.format(fault=fault))
    with serving.served(root, tmp_path / "log") as hub:
        env = hub.environment(tmp_path / "hf")
        path = f"{tmp_path / 'shim'}:{env.get('PYTHONPATH', '')}"
        told = isorate("prefetch", *WORDS, env=env | {"PYTHONPATH": path}, status=2).stderr
        assert f"no space left on the disk of {tmp_path / 'hf'}" in told
        assert "set HF_HOME to a larger disk" in told
        assert not list((tmp_path / "home").rglob("prefetched.json"))
        done = isorate("prefetch", *WORDS, "output=json", env=env)
    assert "ptb_ppl2048" in done.stdout
    assert list((tmp_path / "home").rglob("prefetched.json"))

"""The store: whole or absent, first commit wins, damage is found, bulk comes and goes."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeper.errors import BadInput, DamagedOutput, IsorateError
from sweeper.store import files, process_id
from sweeper.store.store import Store
from tests.stubs.stages import spec

A = spec(name="a")


def write(store: Store, stage: dict, text: str = "weights", score: float = 1.0) -> bool:
    with store.attempt(stage) as attempt:
        (attempt.out / "checkpoint").mkdir()
        (attempt.out / "checkpoint" / "weights.bin").write_text(text)
        (attempt.out / "mask").mkdir()
        (attempt.out / "mask" / "mask.bin").write_text("1010")
        (attempt.out / "records.txt").write_text("one")
        return store.commit(attempt, {"score": score}, {"device": "cpu"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def names(store: Store, kind: str = "make") -> list[str]:
    return sorted(os.listdir(store.root / kind))


def test_a_committed_output_can_be_read_and_nothing_else_is_left(store: Store) -> None:
    assert (store.is_done(A), store.result(A), store.manifest(A)) == (False, None, None)
    assert write(store, A)
    manifest = store.manifest(A)
    assert manifest is not None
    assert store.result(A) == {"score": 1.0}
    assert set(manifest["files"]) == {
        "checkpoint/weights.bin",
        "mask/mask.bin",
        "records.txt",
        "result.json",
    }
    assert manifest["device"] == "cpu"
    assert manifest["key"] == A["key"]
    assert store.scan("make") == {A["key"]}
    assert not os.listdir(store.tmp)


def test_an_attempt_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.attempt(A) as attempt:  # noqa: PT012
        (attempt.out / "half.bin").write_text("half")
        raise RuntimeError
    assert not store.is_done(A)
    assert not os.listdir(store.tmp)


def test_the_first_commit_wins(store: Store) -> None:
    assert write(store, A, score=1.0)
    assert not write(store, A, score=2.0)
    assert store.result(A) == {"score": 1.0}
    assert not os.listdir(store.tmp)


def test_a_commit_that_loses_at_the_very_rename_is_discarded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        write(Store(store.home), A, score=1.0)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert not write(store, A, score=2.0)
    assert store.result(A) == {"score": 1.0}
    assert not os.listdir(store.tmp)


def test_a_rename_that_fails_for_another_reason_is_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        write(store, A)
    assert not store.is_done(A)


def _race(home: Path, start: float, n: int) -> None:
    store = Store(home)
    time.sleep(max(0.0, start - time.time()))
    write(store, A, score=float(n))


def test_attempts_that_commit_at_once_leave_one_whole_output(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    start = time.time() + 0.3
    racers = [context.Process(target=_race, args=(store.home, start, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 8
    assert names(store) == [A["key"]]
    store.verify(A, full=True)
    assert not os.listdir(store.tmp)


def test_not_a_number_never_reaches_the_disk(store: Store) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(store, A, score=float("nan"))
    assert not store.is_done(A)


def test_a_link_in_an_output_is_refused(store: Store) -> None:
    with pytest.raises(IsorateError, match="no links"), store.attempt(A) as attempt:  # noqa: PT012
        (attempt.out / "link").symlink_to("/etc/passwd")
        store.commit(attempt, {}, {})
    assert not store.is_done(A)


# --- damage ------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", ["checkpoint/weights.bin", "mask/mask.bin", "records.txt"])
@pytest.mark.parametrize("how", ["missing", "short", "flipped"])
def test_damage_is_found_and_moved_aside(
    store: Store, file: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, A)
    path = store.path(A) / file
    match how:
        case "missing":
            path.unlink()
        case "short":
            path.write_bytes(path.read_bytes()[:-1])
        case "flipped":
            flip(path)
    # A flipped bit leaves the size alone: only the full check can see it.
    assert store.present(A) == (how == "flipped")
    assert not store.present(A, full=True)
    assert names(store) == [f"{A['key']}.damaged.0"]
    assert "damaged output" in caplog.text
    assert file in caplog.text
    assert write(store, A)
    assert store.present(A, bulk=True, full=True)


@pytest.mark.parametrize("file", ["result.json", "manifest.json"])
def test_a_flipped_bit_in_a_score_is_found_without_being_asked(store: Store, file: str) -> None:
    write(store, A)
    flip(store.path(A) / file)
    with pytest.raises(DamagedOutput):
        store.result(A)
    assert not store.present(A)


def test_damage_after_a_full_check_is_found_too(store: Store) -> None:
    write(store, A)
    store.verify(A, full=True)
    flip(store.path(A) / "checkpoint" / "weights.bin")
    with pytest.raises(DamagedOutput, match=r"weights\.bin has changed"):
        store.verify(A, full=True)


def test_unchanged_files_are_hashed_once_per_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, A)
    reader, hashed = Store(store.home), []
    from sweeper.store import files

    genuine = files.sha256
    monkeypatch.setattr(files, "sha256", lambda p: hashed.append(p.name) or genuine(p))
    reader.verify(A, full=True)
    assert "weights.bin" in hashed
    hashed.clear()
    reader.verify(A, full=True)
    assert "weights.bin" not in hashed


# --- bulk ---------------------------------------------------------------------------


def test_dropping_bulk_keeps_the_result(store: Store) -> None:
    write(store, A)
    assert store.drop_bulk(A) == len("weights") + len("1010")
    assert not store.has_bulk(A)
    assert store.is_done(A)
    assert store.result(A) == {"score": 1.0}
    assert store.present(A, full=True)
    assert not store.present(A, bulk=True)
    assert (store.path(A) / "records.txt").exists()
    assert store.drop_bulk(A) == 0


def test_equal_bytes_restore_dropped_bulk_silently(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, A)
    before = store.manifest(A)
    store.drop_bulk(A)
    assert write(store, A, score=9.0)
    assert store.present(A, bulk=True, full=True)
    assert store.manifest(A) == before
    assert store.result(A) == {"score": 1.0}
    assert "rebuild" not in " ".join(os.listdir(store.path(A)))
    assert not caplog.text


def test_other_bytes_are_restored_recorded_and_flagged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, A)
    store.drop_bulk(A)
    write(store, A, text="WEIGHTS")
    assert "other bytes than recorded" in caplog.text
    records = list(store.path(A).glob("rebuild-checkpoint-*.json"))
    assert len(records) == 1
    assert json.loads(records[0].read_text())["files"].keys() == {"checkpoint/weights.bin"}
    assert store.present(A, bulk=True, full=True)
    flip(store.path(A) / "checkpoint" / "weights.bin")
    assert not store.present(A, full=True)


def test_dropping_deletes_no_foreign_files(store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    write(store, A)
    store.drop_bulk(A)
    (store.path(A) / "checkpoint").symlink_to(precious)
    store._delete(store.path(A) / "checkpoint")
    assert (precious / "file").exists()


# --- failures -----------------------------------------------------------------------


def test_a_failure_is_kept_until_it_is_cleared(store: Store) -> None:
    with store.attempt(A) as attempt:
        (attempt.out / "half").touch()
        store.fail(attempt, {"message": "no"})
    with store.attempt(A) as attempt:
        store.fail(attempt, {"message": "second"})
    failure = store.failure(A)
    assert failure is not None
    assert failure["message"] == "no"
    assert store.listing("make").failed == {A["key"]}
    assert not store.scan("make")
    assert names(store) == [f"{A['key']}.failed"]
    assert store.clear_failure(A)
    assert not store.clear_failure(A)
    assert store.failure(A) is None


def test_a_stage_that_is_done_has_not_failed(store: Store) -> None:
    with store.attempt(A) as attempt:
        store.fail(attempt, {"message": "no"})
    write(store, A)
    assert store.failure(A) is None
    assert store.listing("make") == ({A["key"]}, set())


# --- housekeeping -------------------------------------------------------------------


def test_gc_takes_the_dead_and_leaves_the_living(store: Store, tmp_path: Path) -> None:
    write(store, A)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    dead = multiprocessing.get_context("fork").Process(target=int)
    dead.start()
    dead.join()
    corpse = store.tmp / f"k.{process_id.host()}.{dead.pid}.aa"
    elsewhere = store.tmp / f"k.other-host.{dead.pid}.bb"
    for path in (corpse, elsewhere):
        (path / "checkpoint").mkdir(parents=True)
    (corpse / "link").symlink_to(precious)
    (store.root / "make.link").symlink_to(precious)
    store.scratch(A)
    other = store.scratch(spec(name="unfinished"))
    with store.attempt(spec(name="living")) as living:
        removed = store.gc()
        assert living.out.exists()
    assert set(removed) == {corpse, store.root / "scratch" / A["key"]}
    assert elsewhere.exists()
    assert other.exists()
    assert (precious / "file").exists()
    for path in (elsewhere, *elsewhere.iterdir()):
        os.utime(path, (1, 1))
    assert store.gc() == [elsewhere]


def test_gc_deletes_what_was_set_aside_only_when_asked(store: Store) -> None:
    write(store, A)
    aside = store.set_aside(A)
    assert store.gc() == []
    assert store.gc(damaged=True) == [aside]


def test_a_record_that_was_renamed_meanwhile_is_nobodys_leftover(tmp_path):
    """Another host was writing it when the directory was listed."""
    gone = tmp_path / ".plan-1.json.other-host.7.0123abcd"
    assert not process_id.is_dead(gone, older_than_s=0)


def test_a_record_that_cannot_be_written_leaves_the_one_before_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sweeps" / "name" / "record.json"
    files.write_whole(path, {"value": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_whole(path, {"value": float("nan")})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert files.read_json(path) == {"value": 1}


def test_gc_finds_records_that_the_dead_were_writing_and_no_others(store: Store) -> None:
    folder = store.home / "sweeps" / "name" / "jobs"
    folder.mkdir(parents=True)
    dead = folder / f".record.json.{process_id.host()}.{2**22 + 1}.0123abcd"
    alive = folder / f".record.json.{process_id.host()}.{os.getpid()}.0123abcd"
    for path in (dead, alive, folder / ".nfs0001.hidden", folder / "record.json"):
        path.write_text("{")
    outside = store.home.parent / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    assert store.gc(older_than_s=-1.0) == [], "nothing behind a link"
    folder.unlink()
    outside.rename(folder)
    assert store.gc() == [dead]
    assert len(list(folder.iterdir())) == 3


def test_a_temporary_directory_that_is_a_link_is_not_entered(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "k.host.1.aa").mkdir(parents=True)
    os.utime(elsewhere / "k.host.1.aa", (1, 1))
    store.root.mkdir(parents=True)
    store.tmp.symlink_to(elsewhere)
    assert store.gc() == []
    assert (elsewhere / "k.host.1.aa").exists()


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file" / "home", Path("/proc/isorate")):
        with pytest.raises(BadInput, match=r"home=.*cannot be written"):
            Store(home).check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only directory")
def test_a_read_only_home_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="Permission denied"):
        Store(tmp_path).check()


def test_a_full_home_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check()
    assert not os.listdir(store.tmp)
    with pytest.raises(BadInput, match="GB are needed"):
        store.check(need_bytes=10**18)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    with pytest.raises(BadInput, match=r"0\.0 GB are free"):
        store.check(need_bytes=1)


def test_the_state_of_many_stages_costs_one_listing(store: Store) -> None:
    kind = store.root / "make"
    kind.mkdir(parents=True)
    for n in range(3000):
        (kind / f"{n:024x}").mkdir()
    (kind / "x.failed").mkdir()
    (kind / "y.damaged.0").mkdir()
    start = time.process_time()
    listing = store.listing("make")
    assert len(listing.done) == 3000
    assert listing.failed == {"x"}
    assert time.process_time() - start < 1.0


def test_who_is_at_work_is_known_until_the_attempt_ends(store: Store) -> None:
    assert store.running() == {}
    with store.attempt(A):
        assert set(store.running()) == {A["key"]}
    assert store.running() == {}


def test_an_attempt_of_a_dead_process_is_not_at_work(store: Store) -> None:
    (store.tmp / f"{A['key']}.{process_id.host()}.{2**22 + 1}.abcd").mkdir(parents=True)
    assert store.running() == {}


def test_leases_of_stages_that_are_done_are_cleared_away(store, monkeypatch):
    done, open_ = spec(name="done"), spec(name="open")
    with store.attempt(done) as attempt:
        store.commit(attempt, {}, {})
    claims = store.home / "claims"
    for key in (done["key"], open_["key"]):
        (claims / key).mkdir(parents=True)
        (claims / key / "3").write_text("{}")
    assert store.gc() == [], "somebody may just be letting go"
    for age_s, expected in ((2 * 3600, [claims / done["key"]]), (8 * 86400, [])):
        for path in claims.rglob("*"):
            os.utime(path, (time.time() - age_s,) * 2)
        expected = expected or [claims / open_["key"]]
        assert store.leftovers() == store.gc() == expected
        assert not expected[0].exists()

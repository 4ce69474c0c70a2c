"""What quotas leave, from scripted tools that print what the real ones print."""

from __future__ import annotations

import getpass
import grp
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launchers.slurm.cluster import quota
from sweeper.errors import BadInput
from tests.launchers.fake_slurm import FakeSlurm
from tests.launchers.slurm_rig import SlurmRig

KIB = 1024
# 40,000 KiB are used; the limits are 50,000 (soft) and 60,000 (hard)
QUOTA = """Disk quotas for user me (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
          /      1       2       3       0       1       0       0       0
     {home}   40000   {soft}   {hard}       0     812       0       0       0
     {home}/elsewhere     7   8   9       0     812       0       0       0
"""
LUSTRE = (
    "{home}\n                 [40000]*  {soft}  {hard}       -     812       0       0       -\n"
)

Site = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A mounted directory of a type, and the tools of the site: name -> body of a script."""

    def make(kind: str, **tools: str) -> Path:
        home = tmp_path / "scratch of all"
        (home / "me").mkdir(parents=True)
        table = tmp_path / "mounts"
        point = str(home).replace(" ", "\\040")
        table.write_text(
            f"autofs {point} autofs rw 0 0\n"
            f"server:/x {point} {kind} rw 0 0\n"
            f"server:/y {point}-more nfs rw 0 0\nserver:/z {point}/me/too nfs rw 0 0\n"
            "/dev/sda1 / ext4 rw 0 0\n"
        )
        monkeypatch.setattr(quota, "MOUNTS", table)
        folder = tmp_path / "tools"
        folder.mkdir()
        for name, body in tools.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return home / "me"

    return make


def printing(
    text: str, tmp_path: Path, *, soft: int = 50000, hard: int = 60000, of: str = "-u"
) -> str:
    """A script that prints what a tool prints, and notes its arguments.

    The limits are those of ``of`` ("-u", "-g" or "-p"), others have none; the home is in
    project 4711.
    """
    home = tmp_path / "scratch of all"
    limited, free = (text.format(home=home, soft=a, hard=b) for a, b in ((soft, hard), (0, 0)))
    return f"""
echo "$@" >>'{tmp_path}/asked'
case "$*" in
project*) echo ' 4711 P {home}/me' ;;
*'{of} '*) cat <<'END'
{limited}END
;;
*) cat <<'END'
{free}END
esac"""


def checked(home: Path, need: int) -> list[str]:
    said: list[str] = []
    quota.check(home, need, said.append)
    return said


@pytest.mark.parametrize(("soft", "hard", "left"), [(5, 60000, 20000), (50000, 0, 10000)])
@pytest.mark.parametrize(
    ("kind", "tool", "text"), [("nfs4", "quota", QUOTA), ("lustre", "lfs", LUSTRE)]
)
def test_what_the_limit_leaves(
    site: Site, tmp_path: Path, kind: str, tool: str, text: str, soft: int, hard: int, left: int
) -> None:
    home = site(kind, **{tool: printing(text, tmp_path, soft=soft, hard=hard)})
    assert checked(home, left * KIB) == []
    with pytest.raises(BadInput, match=f"your quota on {home.parent} leaves 0.0 GB") as error:
        checked(home, left * KIB + 1)
    assert str(error.value).startswith(f"home={home}")


@pytest.mark.parametrize(
    ("kind", "tool", "text", "of", "whose"),
    [
        ("nfs4", "quota", QUOTA, "-g", "group {group}"),
        ("lustre", "lfs", LUSTRE, "-g", "group {group}"),
        ("lustre", "lfs", LUSTRE, "-p", "project 4711"),
    ],
)
def test_groups_and_projects_have_limits_too(
    site: Site, tmp_path: Path, kind: str, tool: str, text: str, of: str, whose: str
) -> None:
    home = site(kind, **{tool: printing(text, tmp_path, of=of)})
    name = whose.format(group=grp.getgrgid(os.getegid()).gr_name)
    assert checked(home, 20000 * KIB) == []
    with pytest.raises(BadInput, match=f"the quota of {name} on {home.parent} leaves 0.0 GB"):
        checked(home, 20001 * KIB)


def test_what_is_not_told_of_the_group_hides_nothing_of_the_project(
    site: Site, tmp_path: Path
) -> None:
    refuses = "case \"$*\" in *'-g '*) echo not permitted >&2; exit 1;; esac"
    home = site("lustre", lfs=refuses + printing(LUSTRE, tmp_path, of="-p"))
    (said,) = checked(home, 20000 * KIB)
    assert "lfs failed: not permitted" in said
    with pytest.raises(BadInput, match="the quota of project 4711"):
        checked(home, 20001 * KIB)


def test_what_the_tools_are_asked(site: Site, tmp_path: Path) -> None:
    home = site("lustre", lfs=printing(LUSTRE, tmp_path))
    checked(home, 1)
    user, group, point = getpass.getuser(), grp.getgrgid(os.getegid()).gr_name, home.parent
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"quota -q -u {user} {point}",
        f"quota -q -g {group} {point}",
        f"project -d {home}",
        f"quota -q -p 4711 {point}",
    ]


def test_a_directory_that_hands_its_group_on_counts_for_that_group(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = site("nfs", quota=printing(QUOTA, tmp_path))
    own = grp.getgrgid(home.stat().st_gid).gr_name
    monkeypatch.setattr(quota.os, "getegid", lambda: 54321)
    for mode, group in ((0o770, "54321"), (0o2770, own)):
        home.chmod(mode)
        checked(home, 1)
        assert (tmp_path / "asked").read_text().split()[-1] == group


def test_a_directory_in_no_project(site: Site, tmp_path: Path) -> None:
    script = printing(LUSTRE, tmp_path, of="-p").replace(" 4711 P", "    0 -")
    assert checked(site("lustre", lfs=script), 10**18) == []


def test_no_limit_is_no_limit(site: Site, tmp_path: Path) -> None:
    home = site("xfs", quota=printing(QUOTA, tmp_path, soft=0, hard=0))
    assert checked(home, 10**18) == []


def test_over_the_limit_is_an_answer_though_the_tool_ends_with_an_error(
    site: Site, tmp_path: Path
) -> None:
    home = site("ext4", quota=printing(QUOTA, tmp_path, hard=30000) + "\nexit 1")
    with pytest.raises(BadInput, match=r"leaves 0\.0 GB"):
        checked(home, 1)


def test_no_line_means_no_quota_only_where_the_tool_would_know(site: Site) -> None:
    assert checked(site("nfs", quota="echo 'Disk quotas for user me (uid 1000): none'"), 1) == []


@pytest.mark.parametrize(
    ("kind", "tools", "says"),
    [
        ("gpfs", {"quota": "echo none"}, "say nothing of a gpfs file system"),
        ("lustre", {"lfs": "echo no such user >&2; exit 2"}, "lfs failed: no such user"),
        ("nfs", {"quota": "exit 3"}, "quota failed: exit status 3"),
    ],
)
def test_a_tool_that_does_not_know_is_said(
    site: Site, kind: str, tools: dict[str, str], says: str
) -> None:
    (said,) = checked(site(kind, **tools), 10**18)
    assert "is not known" in said
    assert says in said


@pytest.mark.parametrize(("kind", "tool"), [("nfs", "quota"), ("lustre", "lfs")])
def test_no_tool_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, tool: str
) -> None:
    home = site(kind)
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    (said,) = checked(home, 10**18)
    assert f"{tool} cannot be run here (No such file or directory)" in said


def test_a_tool_that_hangs_is_left_behind(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "PATIENCE_S", 2.0)  # a shell has started by then
    home = site("nfs", quota=f"sleep 60 &\necho $! >'{tmp_path}/child'\nwait")
    begun = time.monotonic()
    (said,) = checked(home, 10**18)
    assert time.monotonic() - begun < 30
    assert "quota did not answer in 2 s" in said
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 30  # it sleeps for 60 s unless it is killed
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_to_write_asks_nothing(site: Site, tmp_path: Path) -> None:
    home = site("nfs", quota=printing(QUOTA, tmp_path))
    assert checked(home, 0) == []
    assert not (tmp_path / "asked").exists()


def test_the_launcher_refuses_before_anything_is_submitted(
    slurm: FakeSlurm, site: Site, tmp_path: Path
) -> None:
    rig = SlurmRig(site("nfs", quota=printing(QUOTA, tmp_path)))
    stages = [rig.make(name) | {"bulk_bytes": 15000 * KIB} for name in ("p", "q")]
    with pytest.raises(BadInput, match="your quota on"):
        rig.run(stages)
    assert not slurm.jobs
    rig.run(stages[:1])
    assert slurm.jobs

"""How many jobs a user may still submit: the limits of associations and QOS, and their use.

`scontrol show assoc_mgr` tells both as the controller counts them. A QOS's limit for each
user appears there only once the user has jobs in it, so `sacctmgr` is asked for it too.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from launchers.slurm.cluster.commands import SlurmError, run
from launchers.slurm.resources.resources import Resources

_COUNT = re.compile(r"(?P<name>\w+)=(?P<most>\d+)\((?P<used>\d+)\)")
_WORD = re.compile(r"(?P<name>\w+)=(?P<value>\S*)")
_REFUSED = re.compile(r"job submit limit|Max\w*Submit|Grp\w*Submit", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Most jobs that may be queued or running.

    Attributes:
        most, used: the limit, and how many there are.
        why: which limit it is.
    """

    most: int
    used: int
    why: str

    @property
    def free(self) -> int:
        """How many may be submitted now."""
        return max(0, self.most - self.used)


@dataclass(kw_only=True)
class _Record:
    """One association or QOS as the controller shows it."""

    words: dict[str, str] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)


def is_refusal(message: str) -> bool:
    """Whether sbatch refused since there are too many jobs already."""
    return bool(_REFUSED.search(message))


def tightest(requests: Iterable[Resources]) -> Limit | None:
    """The limit that leaves the fewest jobs for these requests; None if none is known."""
    return min(limits(requests), key=lambda limit: limit.free, default=None)


def limits(requests: Iterable[Resources]) -> list[Limit]:
    """All limits on the number of jobs that count for these requests.

    Where accounting cannot be asked, none is known: SLURM itself decides then.
    """
    wanted = {(asked.account, asked.partition, asked.qos) for asked in requests}
    try:
        user = getpass.getuser()
        shown = run("scontrol", "show", "assoc_mgr", "flags=assoc,qos", f"users={user}")
    except SlurmError:
        return []
    records, quality, usual = _parse(shown), _quality(), _usual_qos(user)
    found = [
        limit for one in sorted(wanted, key=str) for limit in _of(one, records, quality, usual)
    ]
    return list(dict.fromkeys(found))


def _quality() -> Mapping[str, int]:
    """QOS -> most jobs of each user in it."""
    with suppress(SlurmError):
        command = ("sacctmgr", "-n", "-P", "show", "qos", "format=name,MaxSubmitJobsPerUser")
        rows = (line.split("|") for line in run(*command).splitlines() if "|" in line)
        return {row[0]: int(row[1]) for row in rows if row[1].isdigit()}
    return {}


def _usual_qos(user: str) -> Mapping[str, str]:
    """Account -> the QOS of a job that names none."""
    with suppress(SlurmError):
        command = ("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}")
        rows = run(*command, "format=account,defaultqos").splitlines()
        return dict(line.split("|")[:2] for line in rows if "|" in line)
    return {}


def _of(
    one: tuple[str | None, str | None, str | None],
    records: list[_Record],
    quality: Mapping[str, int],
    usual: Mapping[str, str],
) -> Iterator[Limit]:
    account, partition, qos = one
    own = [r for r in records if r.words.get("UserName")]
    named = account or next((r.words["Account"] for r in own if _is_default(r)), None)
    parents = _ancestry(named, records)
    level = qos or usual.get(named or "") or "normal"
    for record in records:
        user, where = record.words.get("UserName"), record.words.get("Account")
        mine = bool(user) and where == named and record.words.get("Partition") in ("", partition)
        if mine or (user == "" and where in parents):
            for name in ("MaxSubmitJobs", "GrpSubmitJobs"):
                if name in record.counts:
                    most, used = record.counts[name]
                    yield Limit(most=most, used=used, why=f"{name} of account {where}")
        elif record.words.get("QOS", "").split("(")[0] == level:
            yield from _of_qos(record, quality)


def _of_qos(record: _Record, quality: Mapping[str, int]) -> Iterator[Limit]:
    name = record.words["QOS"].split("(")[0]
    if "GrpSubmitJobs" in record.counts:
        most, used = record.counts["GrpSubmitJobs"]
        yield Limit(most=most, used=used, why=f"GrpSubmitJobs of QOS {name}")
    own = record.counts.get("MaxSubmitJobsPU")
    if own is None and name in quality:
        own = (quality[name], 0)
    if own is not None:
        yield Limit(most=own[0], used=own[1], why=f"MaxSubmitJobsPerUser of QOS {name}")


def _is_default(record: _Record) -> bool:
    return record.words.get("DefAssoc") == "Yes"


def _ancestry(account: str | None, records: list[_Record]) -> set[str]:
    """An account and all those that it is part of."""
    above = {
        r.words["Account"]: r.words.get("ParentAccount", "").split("(")[0]
        for r in records
        if r.words.get("UserName") == "" and "Account" in r.words
    }
    found: set[str] = set()
    while account and account not in found:
        found.add(account)
        account = above.get(account)
    return found


def _parse(text: str) -> list[_Record]:
    """The records of `scontrol show assoc_mgr`.

    Of a QOS's limits for each user, those of this user are kept.
    """
    records: list[_Record] = []
    section = ""
    for line in text.splitlines():
        word = line.strip()
        if line.startswith(("ClusterName=", "QOS=")):
            records.append(_Record())
            section = ""
        if word in ("Account Limits", "User Limits"):
            section = word
        elif section and word and "=" not in word:
            section = f"{section.split(':')[0]}:{word.split('(')[-1].rstrip(')')}"
        elif records and (not section or section == f"User Limits:{os.getuid()}"):
            for match in _WORD.finditer(line):
                records[-1].words.setdefault(match["name"], match["value"])
            for match in _COUNT.finditer(line):
                records[-1].counts[match["name"]] = (int(match["most"]), int(match["used"]))
    return records

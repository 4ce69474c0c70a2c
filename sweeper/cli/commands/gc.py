"""``isorate gc``: what dead attempts left behind and checkpoints nobody needs; yes=true deletes."""

from __future__ import annotations

from sweeper.cli.request import Request
from sweeper.planning import retention
from sweeper.results import formatting
from sweeper.store.reader import called


def perform(request: Request) -> int:
    """Show what would be deleted of the home's store, or delete it; results always stay."""
    store, policy = request.store, request.config.checkpoints
    unread = retention.unread(store, retention.planned(request.home), policy)
    dropped = [str(store.path(spec)) for spec in unread]
    if request.config.yes:
        store.check()
        left_over = store.gc(damaged=True)
        freed = sum(store.drop_bulk(spec) for spec in unread)
    else:
        left_over = store.leftovers(damaged=True)
        freed = sum(store.bulk_bytes(spec) for spec in unread)
    deleted = [str(path) for path in left_over]
    request.answer(
        {
            "dry_run": not request.config.yes,
            "deleted": deleted,
            "dropped": dropped,
            "checkpoint_bytes": freed,
        },
        text(
            deleted,
            [f"{called(spec)}: {path}" for spec, path in zip(unread, dropped, strict=True)],
            formatting.size(freed),
            policy,
            done=request.config.yes,
        ),
    )
    return 0


def text(deleted: list[str], dropped: list[str], freed: str, policy: str, *, done: bool) -> str:
    """The same for a person: every path, then the sum."""
    verb = "deleted" if done else "would be deleted"
    lines = [f"{verb}: {path}" for path in deleted]
    lines += [f"{verb}: the checkpoint of {path}" for path in dropped]
    lines.append(
        f"{len(deleted)} leftovers {verb}, and {freed} of {len(dropped)} checkpoints that nobody "
        f"reads any more (checkpoints={policy}); results and records stay"
    )
    if not done and (deleted or dropped):
        lines.append("Nothing was deleted: isorate gc yes=true does it.")
    return "\n".join(lines)

"""Whether this user may fetch a repository of the hub; said before anything is submitted."""

from __future__ import annotations

from sweeper.errors import BadInput
from sweeper.redaction import redact

# What `datasets` makes of the hub's refusal. (The hub's own words for what does not exist
# speak of gated repositories too.)
_GATED_DATA = "is a gated dataset"


def check(key: str, kind: str, name: str) -> None:
    """Ask the hub.

    Args:
        key: the configuration key to name.
        kind: "models" or "datasets".
        name: the hub id.

    Raises:
        BadInput: it does not exist, is gated, or the hub cannot be reached.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    # A gated repository describes itself to everybody, but shows its files to few.
    file = "config.json" if kind == "models" else "README.md"
    try:
        get_hf_file_metadata(hf_hub_url(name, file, repo_type=kind.removesuffix("s")))
    except errors.EntryNotFoundError:
        return
    except Exception as error:
        refusal = refused(key, name, error)
        if refusal is None:
            raise
        raise refusal from None


def refused(key: str, name: str, error: BaseException) -> BadInput | None:
    """The refusal that an error of the hub's libraries means; None if it means something else.

    No word of the token gets into it, nor anything the library says.
    """
    from httpx import TransportError
    from huggingface_hub import errors, get_token

    links = chain(error)
    if any(isinstance(link, errors.GatedRepoError) or _GATED_DATA in str(link) for link in links):
        if get_token():
            return BadInput(
                key,
                name,
                "gated: the account of the token at hand has no access to it.",
                "Accept its terms on its page of the hub, with that account.",
            )
        return BadInput(
            key,
            name,
            "gated: it is for those who accepted its terms, and HF_TOKEN is unset.",
            "Accept its terms on its page of the hub, make a token there and set HF_TOKEN.",
        )
    for link in links:
        if isinstance(link, errors.RevisionNotFoundError):
            return BadInput(key, name, "the hub has no such revision of it (any more).", _REVISION)
        if isinstance(link, errors.RepositoryNotFoundError):
            return BadInput(
                key,
                name,
                "the hub has nothing of that name, or it is private.",
                "Check the name; for a private one set HF_TOKEN.",
            )
    if any(isinstance(link, TransportError | ConnectionError) for link in links):
        return BadInput(
            key,
            name,
            f"not on this machine, and the hub cannot be reached ({redact(str(error))}).",
            "Run `isorate prefetch` with the same arguments where there is a network.",
        )
    return None


_REVISION = "Check the revision; refresh=true lets a prefetch take the newest ones instead."


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and what led to it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found

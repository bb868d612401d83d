"""The Hugging Face hub: from its cache where possible, else fetched, in bounded time, at one commit."""

from collections.abc import Callable, Iterable
from pathlib import Path

from embeddings_dagster.errors import ModelUnavailable

DEFAULT_REVISION = "main"
INSTEAD = (
    "Without the hub, use a bundled model (`model: bundled:clip` or `model: bundled:dino`), or put the model's files "
    "into a folder and name it (`model: ./folder`)"
)


def cached(repository: str, revision: str | None) -> Path | None:
    """The folder of a commit in the hub's cache, perhaps of only some of its files; no network.

    Raises:
        ModelUnavailable: `repository` is no name the hub could know.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision or DEFAULT_REVISION, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise ModelUnavailable(
            f"{repository!r} is not the id of a hub repository, which looks like owner/name. "
            "A folder is written with a leading ./ or /"
        ) from error


def fetch(repository: str, revision: str | None, choose: Callable[[Iterable[str]], list[str]]) -> Path:
    """Download the files that `choose` picks of the repository's, all of one commit, and return their folder.

    Raises:
        ModelUnavailable: the hub cannot be reached, or does not have the model.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT

    pinned = revision or DEFAULT_REVISION
    try:
        # One request, never repeated, comes first: downloads wait and try again for a minute or more, and the client's
        # default is to wait for an answer for ever.
        info = HfApi().model_info(repository, revision=pinned, timeout=HF_HUB_ETAG_TIMEOUT)
        # By `pinned`, not by commit, for the cache to note which commit it is.
        folder = Path(hf_hub_download(repository, "config.json", revision=pinned)).parent
        if folder.name != info.sha:
            info = HfApi().model_info(repository, revision=folder.name, timeout=HF_HUB_ETAG_TIMEOUT)
        for name in choose([sibling.rfilename for sibling in info.siblings or ()]):
            hf_hub_download(repository, name, revision=folder.name)
    except Exception as error:  # whatever way the client and its transports fail, the model is not here
        raise ModelUnavailable(_message(repository, pinned, error)) from error
    return folder


def _message(repository: str, revision: str, error: Exception) -> str:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    what = f"the model {repository!r} (revision {revision}) cannot be had from the hub"
    if isinstance(error, RevisionNotFoundError):
        return f"{what}: it has no such revision; correct `revision`. {INSTEAD}"
    if isinstance(error, RepositoryNotFoundError):
        return f"{what}: there is none of that name, or it needs a token (HF_TOKEN); correct `model`. {INSTEAD}"
    cause = error.__cause__ or error
    reason = next(iter(str(cause).splitlines()), "")
    return f"{what} ({type(cause).__name__}: {reason}). Try again when it can be reached. {INSTEAD}"

"""Why a picture could not be had: what is remembered of it, and what becomes an error of the item."""

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, ItemError, TooManyBytes

KINDS: dict[str, type[ItemError]] = {kind.__name__: kind for kind in (DownloadFailed, DownloadRefused, TooManyBytes)}


class Failure(Exception):
    """An attempt that gave no picture; it never leaves this package, `error` is what does.

    `kind`: the error it becomes, and so whether a later run asks again. `why`: what the answer depended on beside the
    address, one of `status`, `address`, `redirects`, `robots`, `bytes`, `content`, `url`, `transfer`. `again`: whether
    asking again within this run may help, after `wait` seconds where the server named them. `unreached`: the host (and
    port) that no connection could be made to at all.
    """

    def __init__(
        self,
        kind: type[ItemError],
        why: str,
        message: str,
        *,
        status: int | None = None,
        again: bool = False,
        wait: float | None = None,
        unreached: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.why = why
        self.message = message
        self.status = status
        self.again = again
        self.wait = wait
        self.unreached = unreached

    def error(self) -> ItemError:
        return self.kind(self.message)

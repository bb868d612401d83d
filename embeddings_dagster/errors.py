"""The tree of named errors.

Every message says what happened, to which item, and what to do. Two branches matter to callers: an `ItemError` costs
one image and ends as a row in a failures table; every other `EmbeddingsError` stops the work in hand and leaves what
was committed as it was.
"""

import errno
import os
import re

# Control characters but tabs and line breaks, and those that turn the order of what is read: `gpj.exe` for `exe.jpg`.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class EmbeddingsError(Exception):
    """Root of everything this project raises on purpose. Messages repeat what strangers wrote; wherever one is shown,
    it gives the terminal no commands."""

    def __str__(self) -> str:
        return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", super().__str__())


class SettingsError(EmbeddingsError):
    """`embeddings.yaml` or an environment variable cannot be used; the message holds one line per mistake."""


class MissingExtra(EmbeddingsError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'embeddings-dagster[{extra}]'"
        )
        self.extra = extra


class SourceError(EmbeddingsError):
    """A source cannot be read as a whole, so nothing is concluded from it (above all: no removal)."""


class RemovalRefused(SourceError):
    """A plan would remove more of a source than is plausible by accident; `--allow-removals` confirms it."""


class ForgetRefused(EmbeddingsError):
    """What is to be forgotten would come back, or could not go."""


class SwitchRefused(EmbeddingsError):
    """The fingerprint that is to serve cannot answer for every picture yet."""


class StoreError(EmbeddingsError):
    """The store cannot do what was asked."""


class CommitConflict(StoreError):
    """Another writer created the next version first. Nothing of theirs or ours is damaged: read again and go on."""


class CorruptFile(StoreError):
    """A committed file does not hold the bytes its manifest promises."""


class MissingFile(CorruptFile):
    """A committed file is not there at all."""


class FormatTooNew(StoreError):
    """A manifest was written by a newer release than this one."""


class NotExclusive(StoreError):
    """The storage cannot create a file exclusively, so it is refused for writing."""


class StorageUnavailable(StoreError, OSError):
    """Storage refused, could not be reached, or failed; what was committed is as it was."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.EIO  # it says nothing of any file, as a disk's I/O error does not


class CountsDoNotReconcile(StoreError):
    """A stage lost count: total differs from processed + skipped + failed. Nothing was marked complete."""


class StorageFailed(StoreError, OSError):
    """A disk, or the network before it, did not do what it was asked: full, read-only, no permission, damaged.

    It is an OSError too, for whoever deals with those, and `errno` is the one it had.
    """

    @classmethod
    def of(cls, error: OSError, place: str, what: str) -> "StorageFailed":
        """What happened to `place`, which cannot be `what` (read, written, …), and what to do."""
        failed = cls(f"{place} cannot be {what}: {reason_and_remedy(error)}")
        failed.errno, failed.strerror = error.errno, error.strerror
        return failed

    def __str__(self) -> str:
        return str(self.args[0])


FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM}
LASTING = {*FULL, *REFUSED, errno.EROFS}  # nothing but a person changes these


def reason_and_remedy(error: OSError) -> str:
    """What the system says, and what to do about it, as two sentences."""
    number = error.errno or 0
    if number in FULL:
        remedy = "Make room on that disk"
    elif number == errno.EROFS:
        remedy = "That disk is mounted read-only: mount it for writing, or name another place in the settings"
    elif number in REFUSED:
        remedy = "Give this user the permission, or name another place in the settings"
    elif number in {errno.EMFILE, errno.ENFILE}:
        remedy = "Raise the limit on open files (ulimit -n)"
    else:
        remedy = "Check that disk, the room on it and how it is connected"
    return f"{error.strerror or os.strerror(number)}. {remedy}, then run again; what was committed is whole."


def told(error: Exception) -> str | None:
    """What went wrong, in sentences for a person; None for what nobody foresaw, of which a programmer wants to see
    more."""
    if isinstance(error, EmbeddingsError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{reason_and_remedy(error)}"
    return None


class UnknownItem(EmbeddingsError):
    """An image, batch, source, model or generation that was named does not exist."""


class ModelError(EmbeddingsError):
    """A model cannot be loaded or used."""


class ModelUnavailable(ModelError):
    """The model's files are neither here nor to be had from the hub."""


class DeviceUnavailable(ModelError):
    """The device that was asked for is not on this machine."""


class EncodeFailed(ModelError):
    """The model failed on a whole batch for a reason that is not one image's fault."""


class DecoderUnavailable(EmbeddingsError):
    """The process that decodes risky pictures cannot be started on this machine, which is no picture's fault."""


class IndexUnavailable(EmbeddingsError):
    """There is no index generation to search yet."""


class BadQuery(EmbeddingsError):
    """What was asked cannot be searched for as it stands."""


class ExportRefused(EmbeddingsError):
    """An export would go where it must not, or over a file that no export of this kind made."""


class ExportFailed(EmbeddingsError):
    """An export could not be written, or did not hold what it should; no file of it was put in place."""


class Stopped(EmbeddingsError):
    """A stop signal was obeyed: what was whole is committed, the rest is for the next run."""


class ItemError(EmbeddingsError):
    """One image cannot be used. `retryable` says whether the same bytes may succeed later."""

    retryable = False


class ImageError(ItemError):
    """The bytes are not a picture this project accepts."""


class FormatNotAllowed(ImageError):
    """Not recognised as any format in the decoder allowlist."""


class TooManyPixels(ImageError):
    """More pixels than the configured cap."""


class TooManyBytes(ImageError):
    """A larger file than the configured cap."""


class DecodeFailed(ImageError):
    """The decoder refused the bytes: truncated, malformed, or of a kind it does not know."""


class DecodeOutOfMemory(ImageError):
    """There was not enough memory to decode the picture; with less going on beside it there may be."""

    retryable = True


class DecodeTookTooLong(ImageError):
    """Decoding was given up after `rgb.max_seconds`."""


class EmptyRegion(ImageError):
    """A region's box covers no pixel of its picture."""


class TooManyRegions(ItemError):
    """The image has more regions than the model takes at once; those beyond get no vector of it."""


class ReadFailed(ItemError):
    """The file could not be read: no permission, vanished, or an I/O error."""

    retryable = True


class BadRecord(ItemError):
    """What a source says of this item makes no sense, and the picture cannot be had without it."""


class NoPicture(ItemError):
    """The item's record names no picture."""


class RecordChanged(ItemError):
    """The item's record differs from the one that was listed: it changed in between."""

    retryable = True


class DownloadRefused(ItemError):
    """The picture cannot be had from its address, and asking again would be answered the same way."""


class DownloadFailed(ItemError):
    """The picture was not to be had from its address this time; it may be later."""

    retryable = True


class NotDownloaded(ItemError):
    """The picture is not in the cache, and downloading is switched off."""

    retryable = True


class RawChanged(ItemError):
    """The bytes differ from those that were hashed: the file changed in between."""

    retryable = True


class OutOfMemory(ItemError):
    """The model ran out of memory on this image alone."""

    retryable = True


class NotFinite(ItemError):
    """The model returned NaN or infinity, or a vector of norm zero, for this image."""


class Unencodable(ItemError):
    """The model fails on this image, alone too, and not on others."""

    retryable = True


class PrepareFailed(ItemError):
    """A picture was decoded, but a library failed on it before the model saw it."""

    retryable = True

"""A folder of numbered, sealed JSON documents. Creating the next one is the commit.

Its promise: a document that is read is the one that was written, to the byte, and each number has one author. Used for
manifests of every kind: rows, ledgers, and whatever else in the project has versions.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from embeddings_dagster.errors import CommitConflict, CorruptFile, FormatTooNew, MissingFile
from embeddings_dagster.store.files import Files
from embeddings_dagster.store.steps import reached

FORMAT_VERSION = 1
SEAL = "self_sha256"
NAME = re.compile(r"([0-9]{8})\.json")


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True).encode()


def seal(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with `format_version`, and `self_sha256`: the sha256 of the document without that field."""
    document = {**body, "format_version": FORMAT_VERSION}
    document.pop(SEAL, None)
    return {**document, SEAL: hashlib.sha256(_encode(document)).hexdigest()}


def unseal(data: bytes, path: str) -> dict[str, Any]:
    """The document in `data`, proven to be what was sealed.

    Raises:
        CorruptFile: not a byte of it may differ.
        FormatTooNew: a newer release wrote it.
    """
    try:
        document = json.loads(data)
        version = int(document["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path) from error
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"{path} has format {version}; this release reads up to {FORMAT_VERSION}. Upgrade embeddings-dagster."
        )
    if _encode(document) != data or seal(document) != document:
        raise _corrupt(path)
    return dict(document)


def _corrupt(path: str) -> CorruptFile:
    return CorruptFile(
        f"{path} does not hold what was committed. Restore it from a backup, or delete it: the version before it is "
        "then the newest, and the next run redoes what it lacks."
    )


class Versions:
    """The documents `<folder>/00000001.json`, `00000002.json`, … of one thing, called `what` in messages."""

    def __init__(self, files: Files, folder: str, what: str) -> None:
        self._files = files
        self.folder = folder
        self.what = what

    def path(self, number: int) -> str:
        return f"{self.folder}/{number:08d}.json"

    def numbers(self) -> list[int]:
        """Every version that exists, oldest first."""
        return [int(match[1]) for name in self._files.names(self.folder) if (match := NAME.fullmatch(name))]

    def read(self, number: int) -> dict[str, Any]:
        """One document. Raises MissingFile, CorruptFile, FormatTooNew."""
        path = self.path(number)
        try:
            data = self._files.read(path)
        except FileNotFoundError as error:
            raise MissingFile(f"{self.what} has no version {number}: {path} is missing. Read the newest.") from error
        return unseal(data, self._files.url(path))

    def create(self, number: int, body: Mapping[str, Any]) -> dict[str, Any]:
        """Commit `body` as version `number`; returns the sealed document.

        Raises:
            CommitConflict: that version exists, and is not this one.
        """
        document = seal(body)
        try:
            self._files.create(self.path(number), _encode(document))
        except FileExistsError as error:
            # A reply that got lost on the way makes a client try again and meet its own file.
            if self.read(number)[SEAL] != document[SEAL]:
                raise CommitConflict(
                    f"{self.what}: version {number} was committed by another writer first. Nothing is damaged; "
                    "what this one had not committed is planned again from the newest version by the next run."
                ) from error
        reached("manifest:created")
        return document

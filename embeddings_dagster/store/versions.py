"""A folder of numbered, sealed JSON documents. Creating the next one is the commit.

Its promise: a document that is read is the one that was written, to the byte, and each number has one author. Used for
manifests of every kind: rows, ledgers, and whatever else in the project has versions. Those of earlier formats are
read as if they were of the present one; those of later ones are refused.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from embeddings_dagster.errors import CommitConflict, CorruptFile, FormatTooNew, MissingFile
from embeddings_dagster.store.files import Files
from embeddings_dagster.store.migrations import FORMAT_VERSION, upgraded
from embeddings_dagster.store.steps import reached

SEAL = "self_sha256"
NAME = re.compile(r"([0-9]{8})\.json")

# A key of the document itself begins a line, and what lies in it is indented; earlier releases indented all by one
# more. A string in JSON holds no line break, so no text can look like such a line.
_SEALED = re.compile(rb'\n"self_sha256": "([0-9a-f]{64})"(,?)(?=\n)')
_SEALED_INDENTED = re.compile(rb'\n "self_sha256": "([0-9a-f]{64})"(,?)(?=\n)')
_compact = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode

Read = TypeVar("Read")


def seal(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with `format_version`, and `self_sha256`: the sha256 of the document without that field."""
    return _sealed(body)[0]


def _sealed(body: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The sealed document, and its bytes."""
    document = {**body, "format_version": FORMAT_VERSION}
    document.pop(SEAL, None)
    lines = {name: _value(value) for name, value in document.items()}
    sha256 = hashlib.sha256(_joined(lines)).hexdigest()
    return {**document, SEAL: sha256}, _joined({**lines, SEAL: _compact(sha256)})


def _value(value: Any) -> str:
    """JSON with a line for each element, so that two versions can be compared by eye; what is in one is compact."""
    if isinstance(value, Mapping) and value:
        return "{\n " + ",\n ".join(f"{_compact(name)}: {_compact(value[name])}" for name in sorted(value)) + "\n}"
    if isinstance(value, list | tuple | Iterator):
        lines = ",\n ".join(map(_compact, value))
        return f"[\n {lines}\n]" if lines else "[]"
    return _compact(value)


def _joined(lines: Mapping[str, str]) -> bytes:
    return ("{\n" + ",\n".join(f"{_compact(name)}: {lines[name]}" for name in sorted(lines)) + "\n}").encode()


def unseal(data: bytes, path: str) -> dict[str, Any]:
    """The document in `data`, proven to be what was sealed, and then brought to the present format; nothing is encoded
    again for that.

    Raises:
        CorruptFile: not a byte of it may differ.
        FormatTooNew: a newer release wrote it.
    """
    try:
        document = json.loads(data)
        version = document["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _corrupt(path) from error
    if type(version) is not int or version < 1:
        raise _corrupt(path)
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"{path} has format {version}; this release reads up to {FORMAT_VERSION}. Upgrade embeddings-dagster."
        )
    if not _is_whole(data, document):
        raise _corrupt(path)
    return upgraded(document)


def _is_whole(data: bytes, document: Mapping[str, Any]) -> bool:
    """Whether the seal is that of all other bytes, and stands where it was put: the keys are in their order."""
    found = (_SEALED_INDENTED if data.startswith(b"{\n ") else _SEALED).search(data)
    if found is None or document.get(SEAL) != found[1].decode() or list(document) != sorted(document):
        return False
    start, end = found.span()
    if not found[2]:  # it is the last one, and what it follows has a comma only because of it
        if data[start - 1 : start] != b",":
            return False
        start -= 1
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(memoryview(data)[end:])
    return digest.hexdigest() == found[1].decode()


def _corrupt(path: str) -> CorruptFile:
    return CorruptFile(
        f"{path} does not hold what was committed. Run `embeddings verify`: it lists all that is damaged, and what "
        "heals each."
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

    def newest(self, read: Callable[[int], Read], wanted: Callable[[Read], bool] = lambda _: True) -> Read | None:
        """The newest version that is `wanted`, by `read`. What was listed and is gone when it is read was given up for
        newer ones, and those are looked at then. Raises what `read` does."""
        while True:
            numbers = self.numbers()
            try:
                return next(filter(wanted, map(read, reversed(numbers))), None)
            except MissingFile:
                if self.numbers()[-1:] == numbers[-1:]:
                    raise

    def create(self, number: int, body: Mapping[str, Any]) -> dict[str, Any]:
        """Commit `body` as version `number`; returns the sealed document. A long list may be an iterator.

        Raises:
            CommitConflict: that version exists, and is not this one; or a newer one does, and it was given up.
        """
        document, data = _sealed(body)
        if any(there > number for there in self.numbers()):  # its name may be free again, but its time is over
            raise self._conflict(number)
        try:
            self._files.create(self.path(number), data)
        except FileExistsError as error:
            # A reply that got lost on the way makes a client try again and meet its own file.
            if self.read(number)[SEAL] != document[SEAL]:
                raise self._conflict(number) from error
        reached("manifest:created")
        return document

    def _conflict(self, number: int) -> CommitConflict:
        return CommitConflict(
            f"{self.what}: version {number} was committed by another writer first. Nothing is damaged; "
            "what this one had not committed is planned again from the newest version by the next run."
        )

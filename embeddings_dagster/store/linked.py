"""A chain of versions as a whole: each is what it says it is and lies where it says, none is missing between others,
and each was built on the one before it.

A seal proves that a document is one that was written. Only its place and its links prove that it is this one.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from embeddings_dagster.errors import CorruptFile, StorageUnavailable, StoreError
from embeddings_dagster.store.checked import REMEDY, told
from embeddings_dagster.store.manifest import Previous
from embeddings_dagster.store.versions import Versions

Parsed = TypeVar("Parsed")


class Linked(Protocol):
    """A version that says what it was built on."""

    @property
    def previous(self) -> Previous | None: ...

    @property
    def self_sha256(self) -> str: ...


Version = TypeVar("Version", bound=Linked)


class Fault(NamedTuple):
    """Something wrong with one version of a chain."""

    number: int
    path: str
    reason: str


class Chained(NamedTuple, Generic[Version]):
    """The versions that can be read, oldest first, and all that is wrong with the chain."""

    versions: dict[int, Version]
    faults: list[Fault]


def placed(
    document: Mapping[str, Any], url: str, parse: Callable[[Mapping[str, Any]], Parsed], **place: object
) -> Parsed:
    """A sealed document, parsed; `place`: what it has to say of itself where it was found.

    Raises:
        CorruptFile: it is a version of something else, or another one of the same.
    """
    for name, expected in place.items():
        if document.get(name) != expected:
            raise CorruptFile(
                f"{url} does not belong there: its {name} is {document.get(name)!r}, not {expected!r}. {REMEDY}"
            )
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFile(f"{url} is a document of another kind ({error!r}). {REMEDY}") from error


def chained(versions: Versions, read: Callable[[int], Version]) -> Chained[Version]:
    """Read every version there is. Raises nothing that one of them can cause."""
    numbers = versions.numbers()
    found: dict[int, Version] = {}
    faults: list[Fault] = []
    for number in numbers:
        try:
            found[number] = read(number)
        except StorageUnavailable:  # out of reach is not damaged
            raise
        except (StoreError, OSError) as error:
            faults.append(Fault(number, versions.path(number), told(error)))
    for below, number in pairwise(numbers):
        for lost in range(below + 1, number):
            faults.append(Fault(lost, versions.path(lost), "is missing, between versions that are there"))
    for number, version in found.items():
        if not _follows(number, version, found.get(number - 1)):
            faults.append(Fault(number, versions.path(number), _built_on(version.previous)))
    return Chained(found, sorted(faults))


def _follows(number: int, version: Linked, before: Linked | None) -> bool:
    """Whether a version may come after `before`, the one of the number below (None: it cannot be asked)."""
    previous = version.previous
    if number == 1:
        return previous is None
    if before is not None:
        return previous == Previous(number - 1, before.self_sha256)
    return previous is not None and previous.version == number - 1


def _built_on(previous: Previous | None) -> str:
    if previous is None:
        return "was built on nothing, though it is not the first version"
    return f"was built on a version {previous.version} that is not the one there is"

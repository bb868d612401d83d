"""Files found by the end of their path: `E:\\lib\\Foo\\p1.jpg` is `Foo/p1.jpg` below the folder that took its place.

The longest tail wins. What could be two files is never guessed, and a name alone, with another folder around it, is no
match: `p1.jpg` of one book must not stand for that of another.
"""

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from embeddings_dagster.ids import escape_local_id

SHOWN = 5  # candidates that a message names
MANY = 64  # files that end alike: among more of them, one that differs in case alone is not looked for
LAST = "\U0010ffff"  # sorts after every character of a name

Parts = tuple[str, ...]


def parts_of(path: str) -> Parts:
    """The names in a path, `/` or `\\` between them, without a drive; `.` and `..` are taken out."""
    out: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        if part == "..":
            del out[-1:]
        elif part not in ("", "."):
            out.append(part)
    if out and _is_drive(out[0]):
        del out[0]
    return tuple(out)


def is_absolute(path: str) -> bool:
    """Whether a path starts at a root of Windows (`E:\\`, `\\\\server`) or elsewhere (`/`)."""
    return path[:1] in ("/", "\\") or _is_drive(path.replace("\\", "/").partition("/")[0])


def _is_drive(name: str) -> bool:
    return len(name) == 2 and name[1] == ":" and name[0].isalpha()


def fold(name: str) -> str:
    """A name as it is compared: without regard to case, or to how its accents are composed."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class Match:
    """A file that was found: `shared` names at the end of both paths are equal. `sure`: these are all of the path that
    was asked for, or two or more and all of the file's; else it counts only while no other path asks for the file.

    Where nothing was found `path` is empty; then `candidates` are some that were not taken, of `others` in all.
    """

    path: str = ""
    shared: int = 0
    sure: bool = False
    candidates: Parts = ()
    others: int = 0


class TailIndex:
    """Paths, `/` between their names, to be found by their ends in logarithmic time."""

    def __init__(self, paths: Iterable[str]) -> None:
        entries = sorted((_key(path.split("/")), path) for path in paths)
        self._keys = [key for key, _ in entries]
        self._paths = [path for _, path in entries]

    def find(self, parts: Parts) -> Match:
        """The one file whose path ends like `parts`, in as many names as any file's does.

        A path that is matched as a whole goes before one that goes on, and equal in case before equal but for case.
        Where several are left, or where only the last names of longer paths are equal, nothing is found.
        """
        key = _key(parts)
        at = bisect_left(self._keys, key)
        near = self._keys[max(at - 1, 0) : at + 1]
        shared = max((_shared(key, each) for each in near), default=0)
        if not shared:
            return Match()
        tail = parts[-shared:]
        prefix = _key(tail)
        begin, end = bisect_left(self._keys, prefix), bisect_left(self._keys, prefix + LAST)
        whole = self._paths[begin : bisect_left(self._keys, prefix + "\0", begin, end)]
        paths = whole or self._paths[begin : min(end, begin + MANY)]
        exact = [path for path in paths if tuple(path.split("/")[-shared:]) == tail]
        few = exact if len(exact) == 1 else paths
        if len(few) == 1 and (whole or shared > 1 or shared == len(parts)):
            return Match(few[0], shared, shared == len(parts) or (bool(whole) and shared > 1))
        return Match(candidates=tuple(paths[:SHOWN]), others=len(whole) or end - begin)

    def find_all(self, asked: Iterable[Parts]) -> dict[Parts, Match]:
        """`find` for many paths, where a file goes to those that are sure of it, else to the only one that asks."""
        found = {parts: self.find(parts) for parts in asked}
        claims: dict[str, dict[str, bool]] = {}
        for parts, match in found.items():
            if match.path:
                claims.setdefault(match.path, {})[_key(parts)] = match.sure
        return {
            parts: match
            if match.sure or not match.path or len(claims[match.path]) == 1
            else Match(candidates=(match.path,), others=1)
            for parts, match in found.items()
        }


def find_by_tail(image_ids: Iterable[str], text: str) -> tuple[str, ...]:
    """The image whose id is `text` or ends with it, name by name and whatever its case; `.json` may be left out, and so
    may the source. Several where it cannot be told which of them is meant.

    An id that is matched as a whole goes before one that goes on, and equal in case before equal but for case.
    """
    image_ids = list(image_ids)
    source, colon, rest = text.partition(":")
    of_source = [each for each in image_ids if each.startswith(f"{source}:")] if colon else []
    image_ids, text = (of_source, rest) if of_source else (image_ids, text)
    typed = dict.fromkeys(parts for each in (text, escape_local_id(text)) if (parts := parts_of(each)))
    ends = [end for wanted in typed for end in (wanted, (*wanted[:-1], f"{wanted[-1]}.json"))]
    folded = [tuple(map(fold, end)) for end in ends]
    hints = [end[-1] if end[-1].isascii() else "" for end in folded]  # to split and fold a million ids takes seconds
    near = (each for each in image_ids if any(hint in each.lower() for hint in hints))
    names = {each: tuple(each.partition(":")[2].split("/")) for each in near}
    alike = {each: path for each, path in names.items() if _ends_with_one(tuple(map(fold, path)), folded)}
    exact = [each for each, path in alike.items() if _ends_with_one(path, ends)]
    whole = [each for each, path in alike.items() if any(len(path) == len(end) for end in ends)]
    for some in ([each for each in exact if each in whole], whole, exact):
        if len(some) == 1:
            return tuple(some)
    return tuple(sorted(alike))


def named(paths: Sequence[str], count: int) -> str:
    """Some of `count` paths as a message names them, with the number of the rest."""
    more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


def _ends_with_one(names: Parts, ends: Sequence[Parts]) -> bool:
    return any(names[-len(end) :] == end for end in ends)


def _key(parts: Sequence[str]) -> str:
    """Sorts together what ends alike."""
    return "/".join(map(fold, reversed(parts))) + "/"


def _shared(one: str, other: str) -> int:
    """How many names two keys have in common at their beginning."""
    pairs = zip(one.split("/")[:-1], other.split("/")[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

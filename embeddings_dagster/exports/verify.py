"""Exports in the store, verified: every description and every file that it names, as they were put in place.

Files that no description has ever named are somebody else's, and so is what lies elsewhere. A file of vectors whose
description is gone is told of, since nothing says any more whose rows it holds.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from embeddings_dagster.errors import StoreError
from embeddings_dagster.exports.staging import SEALED
from embeddings_dagster.exports.target import FREE, MAKER
from embeddings_dagster.index import Generations
from embeddings_dagster.store import Problem, Store
from embeddings_dagster.store.verify import ALL

FOLDER_DESCRIPTION = "embedding_metadata.json"
DESCRIBES = re.compile(r"embedding_metadata\.json|.+_(info|metadata|index)\.json")
DATA = {"info": ".npy", "metadata": ".json", "index": ".faiss"}  # by the end of its description's name
DESCRIBED = re.compile(r".+\.(npy|faiss|json)")
# Any of these makes a file a description of ours: a change of one byte leaves the others.
SIGNS = (f'"made_by": "{MAKER}', '"fingerprint": "', '"left_out": {"', '"self_sha256": "')
SEAL_END = '"}\n'
CHUNK = 2**20
AGAIN = "export it again; a file that was changed on purpose is better kept elsewhere"
NOT_OURS = "export it again, or move it away: this folder is for exports"


def verify_exports(store: Store) -> list[Problem]:
    """Everything that is wrong with exports in the store; nothing where it is not on this machine."""
    root = store.files.local(FREE)
    found: list[Problem] = []
    for folder, _, names in sorted(os.walk(root)) if root is not None else ():
        found += _folder_problems(store, Path(folder), sorted(names))
    return found


def _folder_problems(store: Store, folder: Path, names: list[str]) -> Iterator[Problem]:
    named: set[str] = set()
    damaged = False  # or cut short while it was put in place: then more than it may be without a description
    for name in filter(DESCRIBES.fullmatch, names):
        try:
            said = read_description(folder / name)
        except (ValueError, OSError) as error:
            damaged = True
            yield _problem(store, folder / name, ALL, str(error), AGAIN)
            continue
        damaged |= said is None and b'"complete": false' in (folder / name).read_bytes()
        if said is not None and not _is_of(name, said["files"]):
            damaged = True
            yield _problem(store, folder / name, ALL, "is the description of another export", AGAIN)
        elif said is not None:
            named |= {name}
            named |= said["files"].keys()
            yield from _file_problems(store, folder, said)
            yield from _lost_generation(store, folder / name, said)
    for name in names:
        if not damaged and name not in named and DESCRIBED.fullmatch(name):
            yield _problem(store, folder / name, ALL, "no description names it: that was lost, or it is none", NOT_OURS)


def read_description(path: Path) -> dict[str, Any] | None:
    """What a description says; None where the file is none, or of an export that is not whole.

    Raises:
        ValueError: it is not as it was written.
    """
    data = path.read_bytes()
    try:
        text = data.decode("ascii")
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("cannot be read as the description of an export") from error
    if not isinstance(said, dict) or not any(sign in text for sign in SIGNS):
        return None
    body, seal, rest = text.rpartition(SEALED)
    if seal:
        if rest != f"{hashlib.sha256(body.encode()).hexdigest()}{SEAL_END}":
            raise ValueError("is not as it was exported")
    elif not text.endswith("}}\n"):  # as descriptions end that were written before they had a seal
        raise ValueError("is not as it was exported")
    if said.get("complete") is not True:
        return None
    if not isinstance(said.get("files"), dict):
        raise ValueError("names no files")
    return said


def _is_of(name: str, files: Collection[str]) -> bool:
    """Whether a description of that name describes these files: it is named after the file of vectors."""
    if name == FOLDER_DESCRIPTION:
        return any(each.endswith("_embeddings.npy") for each in files)
    stem, _, kind = name.removesuffix(".json").rpartition("_")
    return f"{stem}{DATA[kind]}" in files


def _file_problems(store: Store, folder: Path, said: dict[str, Any]) -> Iterator[Problem]:
    rows = f"{said['count']:,} rows" if isinstance(said.get("count"), int) else ALL
    for name, file in said["files"].items():
        try:
            with (folder / name).open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError:
            yield _problem(store, folder / name, rows, "is missing", AGAIN)
        except OSError as error:
            yield _problem(store, folder / name, rows, str(error), AGAIN)
        else:
            if digest != file["sha256"]:
                yield _problem(store, folder / name, rows, "does not hold what was exported", AGAIN)


def _lost_generation(store: Store, path: Path, said: dict[str, Any]) -> Iterator[Problem]:
    """An export is made of a generation: a newer one than there is has been lost, unless the index was made anew."""
    model, fingerprint, number = said.get("name"), said.get("fingerprint"), said.get("generation")
    if not (isinstance(model, str) and isinstance(fingerprint, str) and isinstance(number, int)):
        return
    generations = Generations(store, model, fingerprint[:12])
    try:
        newest = generations.latest()
    except StoreError:
        return  # its own problem
    made = str(said.get("created_at", ""))
    if newest is not None and number > newest.version and made > newest.created_at.isoformat():
        reason = f"was exported from generation {number} of {model}_index, whose newest is {newest.version}"
        remedy = "a generation was lost, or an older state restored: `embeddings verify --repair` refreshes the index"
        yield Problem("indexes", model, generations.versions.path(number), ALL, reason, remedy)


def _problem(store: Store, path: Path, rows: str, reason: str, remedy: str) -> Problem:
    root = store.files.local("")
    inside = path.relative_to(root).as_posix() if root is not None else str(path)
    return Problem(FREE, path.parent.name, inside, rows, reason, remedy)

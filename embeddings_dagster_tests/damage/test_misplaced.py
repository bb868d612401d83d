"""Files that are whole and in the wrong place, and files that are not there: `verify` finds those, too.

What nothing in the store can tell, the loss of a chain's very last version, is found by what was made of it or by
Dagster's event log (`test_lost.py`), or is named in docs/verify.md.
"""

import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from embeddings_dagster.store import Versions
from embeddings_dagster_tests.damage.injuries import everything, undone
from embeddings_dagster_tests.damage.kinds import File, committed
from embeddings_dagster_tests.damage.ward import Ward

SEED = 20261129
SWAPS = 30


def found(ward: Ward) -> set[str]:
    return {problem.file for problem in everything(ward)}


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def pairs(ward: Ward) -> Iterator[tuple[File, File]]:
    """Any two files of a kind that are not the same to the byte."""
    kinds = defaultdict(list)
    for file in committed(ward.data):
        kinds[file.kind].append(file)
    for files in kinds.values():
        for one, other in combinations(files, 2):
            if (ward.data / one.path).read_bytes() != (ward.data / other.path).read_bytes():
                yield one, other


def require_both(ward: Ward, one: File, other: File) -> None:
    paths = ward.data / one.path, ward.data / other.path
    with undone(*paths):
        swap(*paths)
        assert {one.path, other.path} <= found(ward), f"{one.path} and {other.path}"


def test_two_files_of_a_kind_that_are_swapped_are_found(ward: Ward) -> None:
    chance = random.Random(SEED)
    kinds = defaultdict(list)
    for pair in pairs(ward):
        kinds[pair[0].kind].append(pair)
    for some in kinds.values():
        require_both(ward, *chance.choice(some))
    assert len(kinds) >= 20


@pytest.mark.torture
def test_any_two_files_of_a_kind_that_are_swapped_are_found(ward: Ward) -> None:
    for pair in pairs(ward):
        require_both(ward, *pair)


def chains(ward: Ward) -> Iterator[list[Path]]:
    """The manifests of each chain, oldest first."""
    folders = defaultdict(list)
    for file in committed(ward.data):
        if "/manifests/" in file.path:
            folders[file.unit].append(ward.data / file.path)
    yield from map(sorted, folders.values())


def test_a_manifest_that_is_lost_between_others_is_found_in_every_kind_of_chain(ward: Ward) -> None:
    lost = [chain[1] for chain in chains(ward) if len(chain) > 2]
    assert {path.relative_to(ward.data).parts[0] for path in lost} == {
        "sources", "raw_images", "rgb_images", "embeddings", "indexes", "catalog", "analysis", "models",
    }  # fmt: skip
    with undone(*lost):
        for path in lost:
            path.unlink()
        assert {path.relative_to(ward.data).as_posix() for path in lost} <= found(ward)


def test_an_old_manifest_that_lies_over_the_newest_is_found(ward: Ward) -> None:
    newest = [chain[-1] for chain in chains(ward) if len(chain) > 1]
    with undone(*newest):
        for path in newest:
            shutil.copyfile(path.with_name("00000001.json"), path)
        assert {path.relative_to(ward.data).as_posix() for path in newest} <= found(ward)


def test_a_manifest_that_was_renamed_is_found_where_it_lies_now(ward: Ward) -> None:
    moves = {
        chain[-1]: chain[-1].with_name(f"{len(chain) + 2:08d}.json")
        for chain in chains(ward)
        if "calibration" not in chain[-1].parts  # which has one version, and no other is ever read
    }
    with undone(*moves, *moves.values()):
        for path, there in moves.items():
            path.rename(there)
        assert {there.relative_to(ward.data).as_posix() for there in moves.values()} <= found(ward)


def test_a_version_that_was_built_on_another_than_the_one_below_it_is_found(ward: Ward) -> None:
    """The one below is whole, sealed and in its place, and is not the one that was there."""
    above = set()
    pairs = [(chain[-2], chain[-1]) for chain in chains(ward) if len(chain) > 1]
    with undone(*(path for pair in pairs for path in pair)):
        for below, following in pairs:
            versions = Versions(ward.store.files, below.parent.relative_to(ward.data).as_posix(), "chain")
            document = versions.read(int(below.stem))
            newest = following.read_bytes()
            below.unlink()
            following.unlink()  # no number below one that is there is given again
            versions.create(int(below.stem), {**document, "created_at": "2020-01-01T00:00:00+00:00"})
            following.write_bytes(newest)
            above.add(following.relative_to(ward.data).as_posix())
        assert above <= found(ward)


def test_every_file_that_a_newest_version_needs_and_is_not_there_is_found(ward: Ward) -> None:
    chance, kinds = random.Random(SEED), defaultdict(list)
    for file in committed(ward.data):
        if "/manifests/" not in file.path and file.kind != "download":  # that is fetched again
            kinds[file.kind].append(file)
    for files in kinds.values():
        for file in chance.sample(files, min(len(files), 1)):
            with undone(ward.data / file.path):
                (ward.data / file.path).unlink()
                problems = found(ward)
            if file.kind == "export description":  # then the file that it described is told of
                assert any(problem.startswith(file.unit) for problem in problems)
            elif file.path not in problems:
                assert is_superseded(ward, file), file.path


def is_superseded(ward: Ward, file: File) -> bool:
    """Whether only versions before the newest name a file, which may then have been collected."""
    name = file.path.rsplit("/", 2)[1] if "/segments/" in file.path else file.path.rsplit("/", 1)[1]
    return name not in max((ward.data / file.unit / "manifests").iterdir()).read_text()

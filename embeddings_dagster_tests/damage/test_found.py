"""Whatever is done to a committed file, `verify` finds it: every kind, every injury, every time.

Sizes: 12 rounds in CI, 1,000 bits a kind and more by `make torture`. A round injures one file of each unit (a chain, a
folder of exports), so a thousand injuries cost some hundred looks. Seeds are printed.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embeddings_dagster.exports.verify import verify_exports
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.stages.verify_downloads import download_problems
from embeddings_dagster.store import Problem
from embeddings_dagster_tests.damage.kinds import KINDS, File, committed
from embeddings_dagster_tests.damage.ward import Ward

SEED = 20261129
ROUNDS = 12


def everything(ward: Ward) -> list[Problem]:
    return [*verify(ward.store), *verify_exports(ward.store), *download_problems(ward.context.settings)]


def by_unit(ward: Ward) -> dict[str, list[File]]:
    units = defaultdict(list)
    for file in committed(ward.data):
        units[file.unit].append(file)
    return units


@contextmanager
def undone(*paths: Path) -> Iterator[None]:
    """What becomes of these files in the block is forgotten."""
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    finally:
        for path, data in before.items():
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(data)


def require_found(ward: Ward, injured: list[File], what: str) -> None:
    problems = everything(ward)
    for file in injured:
        told = [each for each in problems if each.file == file.path]
        assert told, f"{what}: {file.path}"
        assert any(each.dataset == file.dataset and file.batch in (None, each.batch) for each in told), told
    for each in problems:
        assert each.reason, each
        assert each.remedy, each


def test_the_project_has_every_kind_of_file_and_all_of_them_are_sound(ward: Ward) -> None:
    assert {file.kind for file in committed(ward.data)} == {kind.name for kind in KINDS}
    assert everything(ward) == []


def flip(ward: Ward, rounds: int, seed: int, counts: Counter[str]) -> None:
    """Rounds of flipped bits, one in a file of each unit, of the kind that `counts` has fewest of; counts them."""
    print("seed", seed)
    chance, units = random.Random(seed), by_unit(ward)
    for number in range(rounds):
        injured = [min(files, key=lambda file: (counts[file.kind], chance.random())) for files in units.values()]
        paths = [ward.data / file.path for file in injured]
        with undone(*paths):
            bits = []
            for path in paths:
                data = bytearray(path.read_bytes())
                bits.append(chance.randrange(len(data) * 8))
                data[bits[-1] // 8] ^= 1 << bits[-1] % 8
                path.write_bytes(data)
            require_found(ward, injured, f"round {number}, bits {bits}")
        counts.update(file.kind for file in injured)


def test_every_flipped_bit_is_found(ward: Ward) -> None:
    counts: Counter[str] = Counter()
    flip(ward, ROUNDS, SEED, counts)
    assert {kind.name for kind in KINDS} <= counts.keys()
    assert counts.total() > 200
    assert everything(ward) == []


@pytest.mark.torture
def test_a_thousand_flipped_bits_of_every_kind_are_found(ward: Ward) -> None:
    counts: Counter[str] = Counter()
    seed = random.SystemRandom().randrange(2**32)
    while min(counts[kind.name] for kind in KINDS) < 1000:
        flip(ward, 100, seed, counts)
        seed += 1
    print(dict(counts))


def injure(ward: Ward, injury: Callable[[Path, random.Random], None], what: str, seed: int, rounds: int) -> None:
    """The same injury to one file of each unit, until every file had its turn, or for so many rounds."""
    chance = random.Random(seed)
    units = {unit: chance.sample(files, len(files)) for unit, files in by_unit(ward).items()}
    for number in range(min(rounds, max(map(len, units.values())))):
        injured = [files[number] for files in units.values() if number < len(files)]
        paths = [ward.data / file.path for file in injured]
        with undone(*paths):
            for path in paths:
                injury(path, chance)
            require_found(ward, injured, what)


def _cut(size: Callable[[int, random.Random], int]) -> Callable[[Path, random.Random], None]:
    def injury(path: Path, chance: random.Random) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: size(len(data), chance)])

    return injury


def _append(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(1))


def _zero(path: Path, _: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


INJURIES = {
    "emptied": _cut(lambda size, _: 0),
    "one byte left": _cut(lambda size, _: 1),
    "last byte gone": _cut(lambda size, _: size - 1),
    "cut anywhere": _cut(lambda size, chance: chance.randrange(size)),
    "a byte more": _append,
    "nothing but zeros": _zero,
}


@pytest.mark.parametrize("what", INJURIES)
def test_every_injury_of_some_files_is_found(ward: Ward, what: str) -> None:
    injure(ward, INJURIES[what], what, SEED, 5)


@pytest.mark.torture
@pytest.mark.parametrize("what", INJURIES)
def test_every_injury_of_every_file_is_found(ward: Ward, what: str) -> None:
    for seed in range(20):
        injure(ward, INJURIES[what], what, seed, 10**6)

"""What is done to committed files, undone again afterwards; and whether `verify` found all of it."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embeddings_dagster.exports.verify import verify_exports
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.stages.verify_downloads import download_problems
from embeddings_dagster.store import Problem
from embeddings_dagster_tests.damage.kinds import File, committed
from embeddings_dagster_tests.damage.ward import Ward


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


def flip(ward: Ward, rounds: int, seed: int, counts: Counter[str]) -> None:
    """Rounds of flipped bits, one in a file of each unit, of the kind that `counts` has fewest of; counts them."""
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


def injure(
    ward: Ward, injury: Callable[[Path, random.Random], None], what: str, seed: int, rounds: int
) -> Counter[str]:
    """The same injury to one file of each unit, until every file had its turn, or for so many rounds. How many
    of each kind."""
    counts: Counter[str] = Counter()
    chance = random.Random(seed)
    units = {unit: chance.sample(files, len(files)) for unit, files in by_unit(ward).items()}
    for number in range(min(rounds, max(map(len, units.values())))):
        injured = [files[number] for files in units.values() if number < len(files)]
        paths = [ward.data / file.path for file in injured]
        with undone(*paths):
            for path in paths:
                injury(path, chance)
            require_found(ward, injured, what)
        counts.update(file.kind for file in injured)
    return counts


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

"""Whatever is done to a committed file, `verify` finds it: every kind, every injury, every time.

Sizes: 12 rounds in CI, 1,000 bits a kind and more by `make torture`. A round injures one file of each unit (a chain, a
folder of exports), so a thousand injuries cost some hundred looks. Seeds are printed.
"""

import random
from collections import Counter

import pytest

from embeddings_dagster_tests.damage.injuries import INJURIES, everything, flip, injure
from embeddings_dagster_tests.damage.kinds import KINDS, committed
from embeddings_dagster_tests.damage.ward import Ward

SEED = 20261129
ROUNDS = 12


def test_the_project_has_every_kind_of_file_and_all_of_them_are_sound(ward: Ward) -> None:
    assert {file.kind for file in committed(ward.data)} == {kind.name for kind in KINDS}
    assert everything(ward) == []


def test_every_flipped_bit_is_found(ward: Ward) -> None:
    print("seed", SEED)
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
        print("seed", seed)
        flip(ward, 100, seed, counts)
        seed += 1
    print(dict(counts))


@pytest.mark.parametrize("what", INJURIES)
def test_every_injury_of_some_files_is_found(ward: Ward, what: str) -> None:
    injure(ward, INJURIES[what], what, SEED, 5)


@pytest.mark.torture
@pytest.mark.parametrize("what", INJURIES)
def test_every_injury_of_every_file_is_found(ward: Ward, what: str) -> None:
    for seed in range(20):
        injure(ward, INJURIES[what], what, seed, 10**6)

"""Writers that meet on one batch, and readers among them."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from embeddings_dagster.errors import CommitConflict, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits, Store
from embeddings_dagster_tests.store.helpers import chain_of, commit, row, said, writer_of
from embeddings_dagster_tests.store.places import Place, open_at

PROJECT = Path(__file__).parents[2]
SUBPROCESS = """
import sys
from pathlib import Path
from embeddings_dagster.store import Store
from embeddings_dagster_tests.store.test_races import add_all
add_all(Store.open(sys.argv[1], Path(sys.argv[2])), sys.argv[3].split(","))
"""


def add_all(store: Store, images: list[str]) -> int:
    """Add images as a stage does that plans again whenever another writer was first; counts the conflicts."""
    chain = chain_of(store)
    conflicts = 0
    while True:
        writer = writer_of(chain, PartLimits(images=1))
        present = {key.image_id for key in writer.present()}
        try:
            for image in images:
                if image not in present:
                    writer.add([row(image)])
            writer.finish(inputs={}, total=len(present | {*images}))
        except CommitConflict:
            conflicts += 1
        else:
            return conflicts


def test_of_two_writers_one_wins_and_the_other_is_told_what_happened(chain: Chain) -> None:
    commit(chain, "art:a")
    winner, loser = writer_of(chain), writer_of(chain)
    winner.add([row("art:b")])
    loser.add([row("art:c")])
    won = winner.finish(inputs={}, total=2)
    with pytest.raises(
        CommitConflict,
        match=r"embeddings/tiny/0123456789ab, batch art__0001: version 2 was committed by another writer first.*"
        r"planned again from the newest version",
    ):
        loser.finish(inputs={}, total=2)
    assert said(chain, chain.latest()) == {Key("art:a", 0): "hash-art:a", Key("art:b", 0): "hash-art:b"}
    every = set().union(*(chain.referenced(chain.get(version)) for version in chain.versions.numbers()))
    assert set(chain.stored()) == every
    assert chain.latest() == won


def test_a_loser_keeps_what_it_had_committed_before(chain: Chain) -> None:
    loser = writer_of(chain, PartLimits(images=1))
    loser.add([row("art:a")])
    commit(chain, "art:b")
    with pytest.raises(CommitConflict):
        loser.add([row("art:c")])
    with pytest.raises(StoreError, match="make a new one"):
        loser.checkpoint()
    assert writer_of(chain).present().keys() == {Key("art:a", 0), Key("art:b", 0)}


def test_a_loser_that_plans_again_gets_all_in(place: Place) -> None:
    groups = [[f"art:{name}{number}" for number in range(3)] for name in "abc"]
    threads = [threading.Thread(target=add_all, args=(open_at(place), group)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = open_at(place)
    chain = chain_of(store)
    assert {key.image_id for key in said(chain, chain.latest())} == {name for group in groups for name in group}
    assert store.verify() == []


def test_two_processes_on_one_batch_get_all_in(place: Place) -> None:
    groups = [[f"art:{name}{number}" for number in range(4)] for name in "ab"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SUBPROCESS, place.root, str(place.folder / "cache"), ",".join(group)], cwd=PROJECT
        )
        for group in groups
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    store = open_at(place)
    chain = chain_of(store)
    assert {key.image_id for key in said(chain, chain.latest())} == {name for group in groups for name in group}
    assert store.verify() == []


def test_a_reader_among_writers_sees_one_state_after_another_and_never_a_mixture(place: Place) -> None:
    store = open_at(place)
    commit(chain_of(store), *(f"art:{number}" for number in range(6)))
    states = [{Key(f"art:{number}", 0): "hash-art:" + str(number) for number in range(6)}]
    states += [{Key(f"art:{number}", 0): f"round{turn}" for number in range(6)} for turn in range(8)]
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        chain = chain_of(open_at(place))
        while not done.is_set():
            seen.append(states.index(said(chain, chain.latest())))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(8):
        writer = writer_of(chain_of(store), PartLimits(images=2))
        for number in range(6):
            writer.add([row(f"art:{number}", input_hash=f"round{turn}")])
        writer.finish(inputs={}, total=6)
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert len(seen) > 1

"""Kills a process at every named step of a commit, each time in a new folder; run by `test_crashes.py`.

    python -m embeddings_dagster_tests.store.crash_driver FOLDER ROOT TIMES chain|ledger STEP…

For each step, and each of the first TIMES that it is reached: a child makes a first state, arms the crash hook and
makes a second. Each child that was killed leaves the store `ROOT/<step>.<n>`, and its name on standard output; what
else it notes is in `FOLDER/<step>.<n>`.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from embeddings_dagster.ids import Key
from embeddings_dagster.store import PartLimits, Store, Writer
from embeddings_dagster.store.steps import KILL_AT
from embeddings_dagster.store.tables import LEDGER
from embeddings_dagster_tests.store.helpers import NOON, chain_of, failure, row, writer_of

FIRST = {"art:0": "old", "art:1": "old", "art:2": "old"}
SECOND = {"art:0": "new", "art:2": "old", **{f"art:{number}": "new" for number in range(3, 8)}}
FIRST_FAILED, SECOND_FAILED = failure("art:x", attempts=1), failure("art:x", attempts=2)
PART = PartLimits(images=2)


class Scene(NamedTuple):
    """Where a child works: a store, and a folder for its cache and its notes."""

    root: str
    folder: Path

    @classmethod
    def of(cls, root: str, folder: Path, name: str) -> "Scene":
        return cls(f"{root}/{name}", folder / name)


def open_store(scene: Scene) -> Store:
    return Store.open(scene.root, scene.folder / "cache")


def bring_to_second(writer: Writer, log: Path) -> None:
    """What a stage does: drop what is not wanted, make what is not there; each image made is logged."""
    present = writer.present()
    writer.drop([key for key in present if key.image_id not in SECOND])
    for image, input_hash in SECOND.items():
        if present.get(Key(image, 0)) != input_hash:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as handle:
                handle.write(f"{image}\n")
            writer.add([row(image, input_hash=input_hash)])
    writer.fail(SECOND_FAILED)
    writer.finish(inputs={}, total=len(SECOND) + 1)


def first_chain(scene: Scene) -> None:
    writer = writer_of(chain_of(open_store(scene)), PartLimits())
    for image, input_hash in FIRST.items():
        writer.add([row(image, input_hash=input_hash)])
    writer.fail(FIRST_FAILED)
    writer.finish(inputs={}, total=len(FIRST) + 1)


def second_chain(scene: Scene) -> None:
    bring_to_second(writer_of(chain_of(open_store(scene)), PART), scene.folder / "made")


def ledger_table(batch: str, size: int) -> pa.Table:
    row = {"local_id": "1.png", "item_id": "1", "ordinal": 0, "batch": batch, "size": size, "first_seen": NOON}
    return pa.Table.from_pylist([row], LEDGER)


def first_ledger(scene: Scene) -> None:
    open_store(scene).ledger("art").commit(None, {name: ledger_table(name, 1) for name in "ab"}, run_id="first")


def second_ledger(scene: Scene) -> None:
    ledger = open_store(scene).ledger("art")
    ledger.commit(ledger.latest(), {name: ledger_table(name, 2) for name in "abc"}, run_id="second")


SCENARIOS = {"chain": (first_chain, second_chain), "ledger": (first_ledger, second_ledger)}


def killed_at(scene: Scene, target: str, first: Callable[[Scene], None], second: Callable[[Scene], None]) -> bool:
    """Whether a child that does both got killed at `target`, or else reached the end."""
    child = os.fork()
    if child == 0:
        try:
            first(scene)
            os.environ[KILL_AT] = target
            second(scene)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, f"{target}: the child failed"
    return False


def main(folder: Path, root: str, times: int, scenario: str, steps: list[str]) -> None:
    for step in steps:
        for number in range(1, times + 1):
            name = f"{step.replace(':', '-')}.{number}"
            if not killed_at(Scene.of(root, folder, name), f"{step}:{number}", *SCENARIOS[scenario]):
                break
            print(name, flush=True)


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # a kill, unlike a power cut, loses nothing that the kernel has
    if sys.argv[2].startswith("s3://"):
        import s3fs  # noqa: F401 - once, and not in each child
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:])

"""Plan, do, commit: counts reconcile, stops keep what is whole, races and failures cost what they should."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.errors import CommitConflict, CountsDoNotReconcile, DecodeFailed, ItemError, RawChanged, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.carry_out import Job, Made, carry_out
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.plan import Plan
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import embeddings

TABLE = embeddings(2)
BATCH = "photos__000001"
Make = Callable[[Plan], Iterable[Made]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", tmp_path / "cache")


def context(store: Store, **changes: object) -> StageContext:
    return StageContext(Settings(), store, run_id="run", **changes)  # type: ignore[arg-type]


def row(image_id: str, input_hash: str) -> dict[str, object]:
    vector = np.array([1.0, 0.0], dtype=np.float32)
    return {"image_id": image_id, "region": 0, "input_hash": input_hash, "embedding": vector, "run_id": "run"}


class Work:
    """A stage's work that remembers which images it was asked for, and fails those it is told to."""

    def __init__(self, wanted: dict[Key, str], errors: dict[str, ItemError] | None = None) -> None:
        self.wanted, self.errors, self.asked = wanted, errors or {}, list[str]()

    def __call__(self, plan: Plan) -> Iterator[Made]:
        for image_id in sorted(plan.images):
            self.asked.append(image_id)
            if image_id in self.errors:
                yield Made(image_id, errors={0: self.errors[image_id]})
            else:
                yield Made(image_id, [row(image_id, self.wanted[Key(image_id, 0)])])


def run(context: StageContext, wanted: dict[Key, str], make: Make) -> Account:
    chain = context.store.chain("embeddings/tiny/abc", BATCH)
    inputs = {f"rgb_images/{BATCH}": {"version": 1, "content": "c"}}
    return carry_out(context, Job("tiny_embeddings", chain, TABLE, {"fingerprint": "f"}, wanted, inputs, make))


def wanted_of(**hashes: str) -> dict[Key, str]:
    return {Key(f"photos:{name}", 0): value for name, value in hashes.items()}


def live(store: Store) -> dict[str, str]:
    chain = store.chain("embeddings/tiny/abc", BATCH)
    manifest = chain.latest()
    assert manifest is not None
    table = chain.rows(manifest, ("image_id", "input_hash"))
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_a_second_run_asks_for_nothing_and_commits_nothing(store: Store) -> None:
    wanted = wanted_of(a="1", b="2")
    first = run(context(store), wanted, Work(wanted))
    assert (first.total, first.processed, first.skipped, first.failed) == (2, 2, 0, 0)
    work = Work(wanted)
    second = run(context(store), wanted, work)
    assert work.asked == []
    assert (second.total, second.processed, second.skipped, second.failed) == (2, 0, 2, 0)
    assert second.version == first.version


def test_only_what_changed_is_made_and_what_is_gone_goes(store: Store) -> None:
    wanted = wanted_of(a="1", b="2", c="3")
    run(context(store), wanted, Work(wanted))
    wanted = wanted_of(a="1", b="changed", d="4")
    work = Work(wanted)
    account = run(context(store), wanted, work)
    assert work.asked == ["photos:b", "photos:d"]
    assert (account.processed, account.skipped, account.removed) == (2, 1, 1)
    assert live(store) == {"photos:a": "1", "photos:b": "changed", "photos:d": "4"}


def test_a_failed_image_moves_no_other_and_is_left_alone_until_it_changes(store: Store) -> None:
    wanted = wanted_of(a="1", b="2", c="3")
    errors: dict[str, ItemError] = {"photos:b": DecodeFailed("photos:b: truncated")}
    account = run(context(store), wanted, Work(wanted, errors))
    assert (account.total, account.processed, account.failed) == (3, 2, 1)
    assert [(each.image_id, each.error_class, each.attempts) for each in account.failures] == [
        ("photos:b", "DecodeFailed", 1)
    ]
    assert live(store) == {"photos:a": "1", "photos:c": "3"}

    again = Work(wanted, errors)
    assert run(context(store), wanted, again).failed == 1
    assert again.asked == []

    asked = Work(wanted, errors)
    account = run(context(store, retry_failed=True), wanted, asked)
    assert asked.asked == ["photos:b"]
    assert account.failures[0].attempts == 2

    wanted = wanted_of(a="1", b="new bytes", c="3")
    healed = Work(wanted)
    account = run(context(store), wanted, healed)
    assert healed.asked == ["photos:b"]
    assert (account.failed, account.failures) == (0, ())


def test_a_failure_that_can_heal_is_tried_by_every_run(store: Store) -> None:
    wanted = wanted_of(a="1")
    run(context(store), wanted, Work(wanted, {"photos:a": RawChanged("photos:a: changed")}))
    work = Work(wanted)
    assert run(context(store), wanted, work).processed == 1
    assert work.asked == ["photos:a"]


def test_a_failure_in_place_of_a_row_takes_the_row_away(store: Store) -> None:
    wanted = wanted_of(a="1", b="2")
    run(context(store), wanted, Work(wanted))
    wanted = wanted_of(a="broken now", b="2")
    run(context(store), wanted, Work(wanted, {"photos:a": DecodeFailed("photos:a: bad")}))
    assert live(store) == {"photos:b": "2"}


def test_a_stop_keeps_what_is_whole_and_the_next_run_makes_the_rest(store: Store) -> None:
    wanted = wanted_of(a="1", b="2", c="3")
    stop = threading.Event()

    def make(plan: Plan) -> Iterator[Made]:
        for made in Work(wanted)(plan):
            if made.image_id == "photos:b":
                stop.set()
            yield made

    with pytest.raises(Stopped, match="run again to go on"):
        run(context(store, stop=stop), wanted, make)
    assert store.chain("embeddings/tiny/abc", BATCH).latest() is None, "nothing incomplete is shown to readers"

    rest = Work(wanted)
    account = run(context(store), wanted, rest)
    assert rest.asked == ["photos:c"]
    assert (account.total, account.processed, account.skipped) == (3, 1, 2)


def test_who_loses_a_commit_race_plans_again_on_what_the_winner_left(store: Store) -> None:
    wanted = wanted_of(a="1", b="2", c="3")
    asked: list[list[str]] = []

    def make(plan: Plan) -> Iterator[Made]:
        asked.append(sorted(plan.images))
        if len(asked) == 1:  # another machine, which no lock of this one holds back, commits image a first
            writer = store.chain("embeddings/tiny/abc", BATCH).writer(TABLE, run_id="other", label={"fingerprint": "f"})
            writer.add([row("photos:a", "1")])
            writer.checkpoint()
        yield from Work(wanted)(plan)

    account = run(context(store), wanted, make)
    assert asked == [["photos:a", "photos:b", "photos:c"], ["photos:b", "photos:c"]]
    assert (account.total, account.processed, account.skipped) == (3, 2, 1)
    assert live(store) == {"photos:a": "1", "photos:b": "2", "photos:c": "3"}


def test_who_loses_every_race_says_so(store: Store) -> None:
    wanted = wanted_of(a="1")
    count = 0

    def make(plan: Plan) -> Iterator[Made]:
        nonlocal count
        count += 1
        writer = store.chain("embeddings/tiny/abc", BATCH).writer(TABLE, run_id="other", label={"fingerprint": "f"})
        writer.add([row(f"photos:other{count}", "x")])
        writer.checkpoint()
        yield from Work(wanted)(plan)

    with pytest.raises(CommitConflict, match=BATCH):
        run(context(store), wanted, make)


def test_a_stop_is_obeyed_while_another_process_holds_the_batch(store: Store) -> None:
    wanted = wanted_of(a="1")
    stop = threading.Event()
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        stop.set()

    with (
        store.lock(f"embeddings/tiny/abc/{BATCH}"),
        pytest.raises(Stopped),
        ThreadPoolExecutor(1) as other,  # a lock is its thread's: another one has to wait for it
    ):
        other.submit(run, context(store, stop=stop, log=log), wanted, Work(wanted)).result(timeout=30)
    assert said == [f"embeddings/tiny/abc/{BATCH}: another process is at work on it; waiting until it is done"]


def test_a_stage_that_loses_count_is_not_complete(store: Store) -> None:
    wanted = wanted_of(a="1", b="2")

    def forgets_b(plan: Plan) -> Iterator[Made]:
        return (made for made in Work(wanted)(plan) if made.image_id != "photos:b")

    with pytest.raises(
        CountsDoNotReconcile, match="of 2 regions to be made, 1 are neither rows nor failures \\(photos:b\\)"
    ):
        run(context(store), wanted, forgets_b)
    assert store.chain("embeddings/tiny/abc", BATCH).latest() is None


def test_an_account_that_does_not_add_up_cannot_be_made() -> None:
    counts = {"total": 3, "processed": 1, "skipped": 1, "failed": 0}
    with pytest.raises(CountsDoNotReconcile, match="3 regions were given, and 1 processed"):
        Account(stage="rgb_images", where=BATCH, unit="regions", **counts, reasons={"current": 1},
                dataset="rgb_images", reused=0, version=1, content="c", bytes_written=0)  # fmt: skip


def test_an_emptied_batch_commits_an_empty_version(store: Store) -> None:
    wanted = wanted_of(a="1")
    run(context(store), wanted, Work(wanted))
    account = run(context(store), {}, Work({}))
    assert (account.total, account.removed) == (0, 1)
    assert live(store) == {}

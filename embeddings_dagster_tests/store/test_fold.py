from collections.abc import Callable

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits, Store
from embeddings_dagster.store.fold import SMALL, to_fold
from embeddings_dagster.store.manifest import PartEntry
from embeddings_dagster.store.tables import Table, embeddings
from embeddings_dagster_tests.store.helpers import TABLE, commit, failure, row, said, writer_of

ONE_A_PART = PartLimits(images=1)


def part_entry(number: int, rows: int = 10, dead: int = 0, size: int = 1) -> PartEntry:
    return PartEntry(f"parts/{number}", rows, size, "s", Key("a", 0), Key("b", 0), tuple(range(dead)))


@given(st.lists(st.integers(1, 30).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(0, rows))), max_size=12))
def test_a_batch_is_folded_past_eight_parts_or_a_fifth_of_dead_rows(parts: list[tuple[int, int]]) -> None:
    rows, dead = sum(rows for rows, _ in parts), sum(dead for _, dead in parts)
    entries = [part_entry(number, *part) for number, part in enumerate(parts)]
    assert bool(to_fold(entries)) == (len(parts) > 8 or dead * 5 > rows)


def test_large_parts_are_left_alone_while_small_ones_are_folded() -> None:
    large = [part_entry(number, size=SMALL) for number in range(20)]
    small = [part_entry(number) for number in range(20, 29)]
    assert to_fold(large) == ()
    assert to_fold([*large, *small[:8]]) == ()
    assert to_fold([*large, *small]) == tuple(small)


def test_a_large_part_is_rewritten_when_it_is_what_died() -> None:
    alive = [part_entry(number, size=SMALL) for number in range(3)]
    dying = part_entry(3, dead=9, size=SMALL)
    assert to_fold([*alive, dying]) == (dying,)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30), st.booleans()), max_size=30))
def test_after_a_fold_there_is_nothing_left_to_fold(parts: list[tuple[int, int, bool]]) -> None:
    entries = [
        part_entry(number, rows, min(dead, rows), SMALL if large else 1)
        for number, (rows, dead, large) in enumerate(parts)
    ]
    chosen = to_fold(entries)
    rest = [entry for entry in entries if entry not in chosen]
    merged = part_entry(99, sum(entry.live for entry in chosen))
    assert to_fold([*rest, merged]) == ()


def test_eight_parts_stay_and_nine_are_folded_into_one(chain: Chain) -> None:
    eight = commit(chain, *(f"art:{number}" for number in range(8)), limits=ONE_A_PART)
    assert len(eight.parts) == 8
    nine = commit(chain, "art:8")
    assert [part.rows for part in nine.parts] == [9]
    assert said(chain, nine) == {Key(f"art:{number}", 0): f"hash-art:{number}" for number in range(9)}


def test_a_fold_keeps_order_content_failures_and_inputs(store: Store, chain: Chain) -> None:
    names = [f"art:{number}" for number in (5, 3, 9, 1, 7, 0, 2, 8, 6, 4)]
    folded = commit(chain, *names, failures=(failure("art:x"),), limits=ONE_A_PART)
    scattered = chain.get(folded.version - 1)
    assert (len(scattered.parts), len(folded.parts)) == (10, 1)
    assert scattered.complete
    assert chain.rows(folded).equals(chain.rows(scattered))
    for name in ("content", "counts", "failures", "inputs", "fingerprint"):
        assert getattr(folded, name) == getattr(scattered, name)
    assert (folded.parts[0].first_key, folded.parts[0].last_key) == (Key("art:0", 0), Key("art:9", 0))
    assert store.verify() == []


def test_a_fold_leaves_dead_rows_behind_and_the_old_parts_to_gc(chain: Chain) -> None:
    before = commit(chain, "art:a", "art:b", "art:c", limits=PartLimits())
    after = commit(chain, "art:a")
    assert [(part.rows, part.dead) for part in after.parts] == [(3, ())]
    assert set(chain.files(before)) <= set(chain.stored())
    assert said(chain, before) == said(chain, after)


def test_a_batch_whose_rows_all_died_has_no_parts(chain: Chain) -> None:
    commit(chain, "art:a", "art:b")
    writer = writer_of(chain)
    writer.drop(writer.present())
    manifest = writer.finish(inputs={}, total=0)
    assert (manifest.parts, said(chain, manifest)) == ((), {})


def test_a_fold_that_loses_a_race_leaves_what_was_complete(chain: Chain) -> None:
    base = commit(chain, "art:a", "art:b", "art:c", limits=PartLimits())
    writer = writer_of(chain)
    writer.add([row("art:a", input_hash="new")])
    create = chain.versions.create

    def raced(number: int, body: dict[str, object]) -> dict[str, object]:
        if number == base.version + 2:
            create(number, {**body, "run_id": "another"})
        return create(number, body)

    chain.versions.create = raced  # type: ignore[method-assign]
    manifest = writer.finish(inputs={}, total=3)
    assert manifest.version == base.version + 1
    assert said(chain, manifest)[Key("art:a", 0)] == "new"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.integers(1, 4))
def test_content_is_the_same_folded_or_not(new_store: Callable[[], Store], numbers: list[int], images: int) -> None:
    contents = set()
    for limits in (PartLimits(images=images), PartLimits()):
        chain = new_store().chain("embeddings/tiny/f", "art__0001")
        writer = writer_of(chain, limits)
        for number in numbers:
            writer.add([row(f"art:{number}")])
        contents.add(writer.finish(inputs={}, total=len(set(numbers))).content)
    assert len(contents) == 1


def test_a_column_named_since_is_null_in_folded_older_rows(store: Store) -> None:
    chain = store.chain("embeddings/tiny/f", "art__0001")
    commit(chain, *(f"art:{number}" for number in range(8)), limits=ONE_A_PART)
    wider = Table(TABLE.name, TABLE.schema.append(pa.field("note", pa.string())), TABLE.identity)
    writer = chain.writer(wider, run_id="run", label={})
    writer.add([{**row("art:8"), "note": "new"}])
    manifest = writer.finish(inputs={}, total=9)
    assert len(manifest.parts) == 1
    assert chain.rows(manifest, ["note"]).column("note").to_pylist() == [None] * 8 + ["new"]


def test_memory_stays_flat_while_folding(chain: Chain) -> None:
    wide = embeddings(2**18)  # a megabyte a row
    table = Table(wide.name, wide.schema, wide.identity, row_group_bytes=2 * 2**20)
    picture = np.ones(2**18, dtype=np.float32)
    writer = chain.writer(table, run_id="run", label={}, limits=PartLimits(images=3))
    for number in range(23):
        writer.add([{**row(f"art:{number}"), "embedding": picture}])
    writer.checkpoint()
    pool, usual = pa.proxy_memory_pool(pa.system_memory_pool()), pa.default_memory_pool()
    writer = chain.writer(table, run_id="run", label={})
    writer.add([{**row("art:23"), "embedding": picture}])
    pa.set_memory_pool(pool)
    try:
        manifest = writer.finish(inputs={}, total=24)
        assert pool.max_memory() < 12 * 2**20
    finally:
        pa.set_memory_pool(usual)
    assert [part.rows for part in manifest.parts] == [24]

import re

import numpy as np
import pytest

from embeddings_dagster.errors import CorruptFile, CountsDoNotReconcile, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits, Store
from embeddings_dagster.store.tables import RAW
from embeddings_dagster_tests.store.helpers import (
    TABLE,
    chain_of,
    commit,
    failure,
    row,
    said,
    vector,
    writer_of,
)

A, B, C = (Key(f"art:{name}", 0) for name in "abc")
INPUTS = {"rgb_images/art__0001": {"version": 3, "content": "c3"}}


def test_rows_and_failures_are_read_back(chain: Chain) -> None:
    manifest = commit(chain, "art:a", "art:b", failures=(failure("art:c"),))
    assert said(chain, manifest) == {A: "hash-art:a", B: "hash-art:b", C: failure("art:c")}
    assert (manifest.counts.total, manifest.counts.ok, manifest.counts.failed) == (3, 2, 1)
    assert manifest == chain.latest() == chain.head() == chain.get(manifest.version)


def test_an_empty_batch_can_be_complete(chain: Chain) -> None:
    manifest = writer_of(chain).finish(inputs={}, total=0)
    assert (manifest.version, manifest.complete, manifest.parts, manifest.failures) == (1, True, (), None)
    assert chain.rows(manifest).schema.names == ["image_id", "region", "input_hash"]
    assert chain.rows(manifest, ["embedding"]).column("embedding").to_pylist() == []


def test_a_manifest_says_where_it_comes_from(chain: Chain) -> None:
    first = commit(chain, "art:a", "art:b")
    writer = writer_of(chain)
    writer.add([row("art:c")])
    second = writer.finish(inputs=INPUTS, total=3)
    assert second.previous is not None
    assert (second.previous.version, second.previous.sha256) == (first.version, first.self_sha256)
    assert (second.dataset, second.batch, second.run_id) == (chain.dataset, chain.batch, "run")
    assert (second.inputs, second.fingerprint, second.recipe) == (INPUTS, "f", None)
    assert [(part.first_key, part.last_key, part.rows) for part in second.parts] == [(A, B, 2), (C, C, 1)]


def test_numpy_values_are_taken(chain: Chain) -> None:
    writer = writer_of(chain)
    writer.add(
        [{**row("art:a"), "region": np.int16(0), "norm": np.float32(0.5), "embedding": np.arange(4, dtype=np.float16)}]
    )
    (read,) = chain.rows(writer.finish(inputs={}, total=1)).to_pylist()
    assert (read["norm"], read["embedding"]) == (0.5, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "add() takes the rows of one image, not of 0"),
        ([row("art:a"), row("art:b")], "add() takes the rows of one image, not of 2: ['art:a', 'art:b']"),
        ([{**row("art:a"), "colour": 1}], "art:a does not fit the table embeddings: unknown columns colour"),
        ([{**row("art:a"), "embedding": np.ones(5)}], "art:a does not fit the table embeddings: "),
        ([{**row("art:a"), "embedding": None}], "art:a does not fit the table embeddings: embedding is missing"),
        ([{**row("art:a"), "region": 70000}], "art:a does not fit the table embeddings: "),
        ([{**row("art:a"), "norm": "long"}], "art:a does not fit the table embeddings: "),
        ([row("art:a", 1), row("art:a", 1)], "art:a does not fit the table embeddings: a region occurs twice"),
        ([{"image_id": "art:a", "region": 0}], "art:a does not fit the table embeddings: input_hash is missing"),
    ],
)
def test_rows_that_do_not_fit_cost_one_image(chain: Chain, rows: list[dict[str, object]], message: str) -> None:
    writer = writer_of(chain)
    writer.add([row("art:b")])
    with pytest.raises(StoreError, match=re.escape(message)):
        writer.add(rows)
    writer.add([row("art:c")])
    assert said(chain, writer.finish(inputs={}, total=2)) == {B: "hash-art:b", C: "hash-art:c"}


def test_a_row_supersedes_the_row_and_the_failure_of_its_key(chain: Chain) -> None:
    commit(chain, "art:a", failures=(failure("art:b"),))
    writer = writer_of(chain)
    writer.add([row("art:a", input_hash="new")])
    writer.add([row("art:b", input_hash="healed")])
    assert said(chain, writer.finish(inputs={}, total=2)) == {A: "new", B: "healed"}


def test_a_row_supersedes_another_in_the_same_part(chain: Chain) -> None:
    writer = writer_of(chain, PartLimits())
    for input_hash in ("one", "two", "three"):
        writer.add([row("art:a", input_hash=input_hash)])
    assert said(chain, writer.finish(inputs={}, total=1)) == {A: "three"}


def test_a_failure_supersedes_a_row_wherever_it_lies(chain: Chain) -> None:
    commit(chain, "art:a")
    writer = writer_of(chain, PartLimits())
    writer.add([row("art:b")])
    for name in ("art:a", "art:b"):
        writer.fail(failure(name))
    assert said(chain, writer.finish(inputs={}, total=2)) == {A: failure("art:a"), B: failure("art:b")}


def test_a_failure_that_quotes_a_name_which_is_not_utf_8_is_kept(chain: Chain) -> None:
    manifest = commit(chain, failures=(failure("art:a", message="cannot read b\udce4d.png"),))
    assert [each.message for each in chain.failures(manifest)] == ["cannot read b\\udce4d.png"]


def test_dropped_rows_and_failures_are_gone_and_strangers_are_ignored(chain: Chain) -> None:
    commit(chain, "art:a", "art:b", failures=(failure("art:c"),))
    writer = writer_of(chain)
    writer.drop([A, C, Key("art:unknown", 0)])
    manifest = writer.finish(inputs={}, total=1)
    assert said(chain, manifest) == {B: "hash-art:b"}
    assert manifest.failures is None


def test_regions_are_rows_of_their_own(chain: Chain) -> None:
    writer = writer_of(chain)
    writer.add([row("art:a", region, f"hash{region}") for region in range(3)])
    writer.finish(inputs={}, total=3)
    writer = writer_of(chain)
    writer.drop([Key("art:a", 1)])
    assert said(chain, writer.finish(inputs={}, total=2)) == {A: "hash0", Key("art:a", 2): "hash2"}


def test_a_table_without_regions_has_whole_images(store: Store) -> None:
    chain = store.chain("raw_images", "art__0001")
    writer = chain.writer(RAW, run_id="run", label={})
    writer.add([{"image_id": "art:a", "input_hash": "h", "regions": [{"region": 1, "box": None, "text": "Hi"}]}])
    manifest = writer.finish(inputs={}, total=1)
    assert chain.writer(RAW, run_id="run", label={}).present() == {A: "h"}
    [row] = chain.rows(manifest, ["regions"]).to_pylist()
    assert row == {"regions": [{"region": 1, "box": None, "text": "Hi", "problem": None}]}


def test_present_and_failed_tell_of_the_base_alone(chain: Chain) -> None:
    commit(chain, "art:a", failures=(failure("art:b"),))
    writer = writer_of(chain)
    writer.add([row("art:c")])
    writer.drop([A])
    assert writer.present() == {A: "hash-art:a"}
    assert writer.failed() == {B: failure("art:b")}


def test_a_run_that_changes_nothing_writes_nothing(chain: Chain) -> None:
    writer = writer_of(chain)
    writer.add([row("art:a")])
    writer.fail(failure("art:b"))
    base = writer.finish(inputs=INPUTS, total=2)
    before = chain.stored()
    writer = writer_of(chain)
    writer.fail(failure("art:b"))
    writer.drop([C])
    assert writer.finish(inputs=INPUTS, total=2) is writer.base
    assert writer.base == base
    assert chain.stored() == before
    assert (writer.bytes_written, writer.parts_written) == (0, 0)


def test_an_input_that_says_the_same_in_a_newer_version_changes_nothing(chain: Chain) -> None:
    base = writer_of(chain).finish(inputs=INPUTS, total=0)
    folded = {"rgb_images/art__0001": {"version": 4, "content": "c3"}}
    assert writer_of(chain).finish(inputs=folded, total=0) == base
    changed = {"rgb_images/art__0001": {"version": 4, "content": "c4"}}
    assert writer_of(chain).finish(inputs=changed, total=0).inputs == changed


def test_another_label_is_a_change(chain: Chain) -> None:
    base = commit(chain, "art:a")
    following = writer_of(chain, label={"fingerprint": "g"}).finish(inputs={}, total=1)
    assert (following.version, following.fingerprint, following.content) == (base.version + 1, "g", base.content)


def test_counts_that_do_not_reconcile_complete_nothing_and_lose_nothing(chain: Chain) -> None:
    base = commit(chain, "art:a")
    writer = writer_of(chain)
    writer.add([row("art:b")])
    with pytest.raises(CountsDoNotReconcile, match="batch art__0001: 3 inputs, but 2 rows and 0 failures"):
        writer.finish(inputs={}, total=3)
    assert chain.latest() == base
    assert writer_of(chain).present().keys() == {A, B}


def test_counts_are_reconciled_even_when_nothing_changed(chain: Chain) -> None:
    commit(chain, "art:a")
    with pytest.raises(CountsDoNotReconcile, match="2 inputs, but 1 rows and 0 failures"):
        writer_of(chain).finish(inputs={}, total=2)


def test_a_finished_writer_takes_nothing_more(chain: Chain) -> None:
    writer = writer_of(chain)
    writer.finish(inputs={}, total=0)
    with pytest.raises(StoreError, match="make a new one"):
        writer.add([row("art:a")])


def test_an_incomplete_version_is_seen_by_a_run_that_resumes_and_by_nobody_else(chain: Chain) -> None:
    base = commit(chain, "art:a")
    writer_of(chain, PartLimits(images=1)).add([row("art:b")])
    assert chain.latest() == base
    resumed = writer_of(chain)
    assert resumed.base == chain.head() != base
    assert resumed.present() == {A: "hash-art:a", B: "hash-art:b"}
    complete = resumed.finish(inputs={}, total=2)
    assert complete == chain.latest()
    assert complete.complete


def test_a_retried_failure_changes_the_version_and_not_the_content(chain: Chain) -> None:
    before = commit(chain, "art:a", failures=(failure("art:b"),))
    after = commit(chain, failures=(failure("art:b", message="still not a picture", attempts=2),))
    assert after.version == before.version + 1
    assert after.content == before.content
    assert [each.attempts for each in chain.failures(after)] == [2]
    healed = commit(chain, "art:b")
    assert healed.content != before.content


def test_the_same_row_again_changes_the_version_and_not_the_content(chain: Chain) -> None:
    before = commit(chain, "art:a")
    after = commit(chain, "art:a")
    assert (after.version, after.content) == (before.version + 1, before.content)


def test_a_damaged_base_stops_a_writer_that_does_not_heal(chain: Chain) -> None:
    manifest = commit(chain, "art:a", "art:b", "art:c", failures=(failure("art:d"),))
    assert manifest.failures is not None
    for file in (manifest.parts[0].file, manifest.failures.file):
        chain.store_files.delete(chain.path(file))
        with pytest.raises(CorruptFile, match=r"is missing\. Run `embeddings verify`"):
            writer_of(chain)


def test_a_writer_that_heals_makes_damaged_files_again(store: Store, chain: Chain) -> None:
    manifest = commit(chain, "art:a", "art:b", "art:c", failures=(failure("art:d"),))
    assert manifest.failures is not None
    for file in (manifest.parts[0].file, manifest.failures.file):
        chain.store_files.delete(chain.path(file))
    writer = chain.writer(TABLE, run_id="run", label={"fingerprint": "f"}, heal=True)
    assert writer.present() == {C: "hash-art:c"}
    assert writer.failed() == {}
    for name in "ab":
        writer.add([row(f"art:{name}")])
    writer.fail(failure("art:d"))
    healed = writer.finish(inputs={}, total=4)
    assert healed.content == manifest.content
    assert said(chain, healed) == {A: "hash-art:a", B: "hash-art:b", C: "hash-art:c", Key("art:d", 0): failure("art:d")}
    assert store.verify() == []


def test_rows_of_other_batches_and_datasets_are_apart(store: Store) -> None:
    commit(chain_of(store), "art:a")
    commit(store.chain("embeddings/other/0123456789ab", "art__0001"), "art:b")
    commit(store.chain(chain_of(store).dataset, "art__0002"), "art:c")
    assert said(chain_of(store), chain_of(store).latest()) == {A: "hash-art:a"}
    assert store.batches(chain_of(store).dataset) == ["art__0001", "art__0002"]
    assert store.datasets() == ["embeddings/other/0123456789ab", chain_of(store).dataset]


def test_vectors_survive_the_way_to_disk(chain: Chain) -> None:
    manifest = commit(chain, "art:a")
    (read,) = chain.rows(manifest, ["embedding"]).column("embedding").to_pylist()
    assert np.array_equal(read, vector("hash-art:a"))

"""Stores of earlier formats: read, verified, gone on from; and the table of steps that does it."""

import json
from pathlib import Path
from typing import Any

import pytest

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.store import Chain, Store
from embeddings_dagster.store.migrations import FORMAT_VERSION, STEPS, Document, upgraded
from embeddings_dagster_tests.store.helpers import BATCH, chain_of, commit, failure, row, said, writer_of
from embeddings_dagster_tests.store.version_one import LAYOUTS, turn_back


@pytest.fixture(params=LAYOUTS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store as format 1 left it: three versions with a failure, and what they say."""
    store = Store.open(tmp_path / "data", tmp_path / "unused")
    commit(chain_of(store), "art:a", "art:b", "art:c", failures=(failure("art:x"),))
    assert turn_back(tmp_path / "data", LAYOUTS[request.param]) == 3
    return Store.open(tmp_path / "data", tmp_path / "cache")


def document(store: Store, chain: Chain, number: int) -> dict[str, Any]:
    """What lies on the disk."""
    return dict(json.loads(store.files.read(chain.versions.path(number))))


def test_every_format_before_the_present_one_has_its_step() -> None:
    assert sorted(STEPS) == list(range(1, FORMAT_VERSION))


def test_steps_are_taken_in_order_from_the_format_of_the_document() -> None:
    def step(number: int) -> Any:
        return lambda document: {**document, "taken": [*document["taken"], number]}

    steps = {number: step(number) for number in (3, 1, 2)}
    for number, taken in ((1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (4, [])):
        given: Document = {"format_version": number, "taken": []}
        assert upgraded(given, steps) == {"format_version": 4, "taken": taken}
        assert given == {"format_version": number, "taken": []}, "what was read stays as it was read"


def test_a_gap_in_the_table_is_no_way_around_a_step() -> None:
    with pytest.raises(KeyError):
        upgraded({"format_version": 1}, {1: dict, 3: dict})


def test_a_store_of_format_1_is_read_and_verified(old: Store) -> None:
    chain = chain_of(old)
    manifest = chain.latest()
    assert manifest is not None
    assert (manifest.version, manifest.format_version, manifest.counts.total) == (3, FORMAT_VERSION, 4)
    assert manifest.failures is not None
    assert manifest.failures.bytes is None, "format 1 did not say it"
    assert sorted(key.image_id for key in said(chain, manifest)) == ["art:a", "art:b", "art:c", "art:x"]
    assert old.verify() == old.verify(deep=False) == []
    assert old.heads(chain.dataset).get(BATCH).version == 3
    assert {document(old, chain, number)["format_version"] for number in chain.versions.numbers()} == {1}, "left alone"


def test_the_next_commit_writes_the_present_format_and_says_what_was_not_said(old: Store) -> None:
    chain = chain_of(old)
    before = chain.latest()
    assert before is not None
    assert before.failures is not None
    commit(chain, "art:d")
    newest = document(old, chain, chain.versions.numbers()[-1])
    assert newest["format_version"] == FORMAT_VERSION
    size = old.files.stat(chain.path(before.failures.file))
    assert size is not None
    assert newest["failures"] == {
        "file": before.failures.file, "rows": 1, "sha256": before.failures.sha256, "bytes": size.size,
    }  # fmt: skip
    latest = chain.latest()
    assert latest is not None
    assert len(said(chain, latest)) == 5
    assert old.verify() == []


def test_a_run_that_changes_nothing_leaves_an_old_store_as_it_is(old: Store) -> None:
    writer = writer_of(chain_of(old))
    assert writer.finish(inputs={}, total=4).version == 3


def test_an_old_batch_is_folded_and_its_vectors_are_found(old: Store) -> None:
    chain = chain_of(old)
    writer = writer_of(chain)
    for number in range(20):
        writer.add([row(f"art:{number}")])
    folded = writer.finish(inputs={}, total=24)
    assert len(folded.parts) == 1
    assert len(said(chain, folded)) == 24
    lookup = old.vectors("tiny", "0123456789ab")
    lookup.sync()
    assert lookup.find(["hash-art:a", "hash-art:19"]).keys() == {"hash-art:a", "hash-art:19"}
    assert old.verify() == []


def test_an_old_document_with_a_byte_changed_is_damaged_before_anything_is_made_of_it(old: Store) -> None:
    chain = chain_of(old)
    path = Path(old.root) / chain.versions.path(3)
    path.write_bytes(path.read_bytes().replace(b'"run_id": "run"', b'"run_id": "ruN"'))
    with pytest.raises(CorruptFile, match=r"00000003\.json"):
        chain.latest()


def test_a_failures_file_of_another_size_is_found_without_reading_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data", tmp_path / "cache")
    manifest = commit(chain_of(store), "art:a", failures=(failure("art:x"),))
    assert manifest.failures is not None
    path = tmp_path / "data" / chain_of(store).path(manifest.failures.file)
    path.write_bytes(path.read_bytes()[:-1])
    size = path.stat().st_size
    assert [each.reason for each in store.verify(deep=False)] == [f"has {size} bytes, not {size + 1}"]
    with pytest.raises(CorruptFile):
        writer_of(chain_of(store))

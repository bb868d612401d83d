"""A manifest says the same after a trip through JSON, and knows what it needs."""

import json

from embeddings_dagster.index import Consumed, DeletionsEntry, FileEntry, GenerationManifest, SegmentEntry
from embeddings_dagster.store.versions import seal
from embeddings_dagster_tests.index.helpers import manifest
from embeddings_dagster_tests.index.test_recall import RECALL

FILES = {name: FileEntry(10, name[0] * 64) for name in ("index.faiss", "vectors.npy", "rows.parquet")}
WHOLE = SegmentEntry("aa", "flat", 5, FILES)
CUT = SegmentEntry("bb", "flat", 5, FILES, DeletionsEntry("deletions/d.npy", 2, 144, "d" * 64))

FIRST_RELEASE = """
{"consumed": {"art__1": {"content": "c", "failed": "", "newest": "2026", "version": 3}},
 "created_at": "2026-01-02T12:00:00+00:00", "dimension": 8, "fingerprint": "f", "metric": "inner_product",
 "pinned": false, "previous": null, "restores": null, "run_id": "run", "self_sha256": "s", "version": 1,
 "segments": [{"deletions": {"bytes": 144, "file": "deletions/d.npy", "rows": 2,
   "sha256": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"},
   "files": {"index.faiss": {"bytes": 10, "sha256": "i"}}, "kind": "flat", "rows": 5, "uuid": "aa"}]}
"""


def test_comes_back_from_json_as_it_was() -> None:
    made = manifest(WHOLE, CUT, consumed={"art__0001": Consumed(3, "c" * 64, "", "2026-01-01T00:00:00.000000+00:00")})
    document = json.loads(json.dumps(seal(made.to_document())))
    again = GenerationManifest.from_document(document)
    assert again == GenerationManifest(**{**_fields(made), "self_sha256": document["self_sha256"]})


def test_what_a_segment_was_tuned_to_comes_back_too() -> None:
    graph = SegmentEntry("cc", "hnsw_fp16", 5, FILES, recall=RECALL)
    document = json.loads(json.dumps(seal(manifest(WHOLE, graph).to_document())))
    again = GenerationManifest.from_document(document)
    assert again.segments == (WHOLE, graph)
    assert (again.kinds, again.recall, again.worst_decile) == ({"flat": 1, "hnsw_fp16": 1}, 0.96, 0.7)
    assert (manifest(WHOLE).kinds, manifest(WHOLE).recall, manifest(WHOLE).worst_decile) == ({"flat": 1}, 1.0, 1.0)


def test_a_manifest_of_the_first_releases_is_read() -> None:
    """As version 0.1 wrote it, before segments were tuned."""
    old = GenerationManifest.from_document(json.loads(FIRST_RELEASE))
    [segment] = old.segments
    assert (segment.kind, segment.rows, segment.live, segment.recall) == ("flat", 5, 3, None)
    assert segment.deletions == DeletionsEntry("deletions/d.npy", 2, 144, "d" * 64)
    assert (old.version, old.rows, old.recall, old.consumed) == (1, 3, 1.0, {"art__1": Consumed(3, "c", "", "2026")})


def test_counts_rows_that_can_be_found() -> None:
    assert manifest(WHOLE, CUT).rows == 8


def test_names_every_file_that_opening_needs() -> None:
    assert CUT.hashes() == {
        "segments/bb/index.faiss": "i" * 64,
        "segments/bb/vectors.npy": "v" * 64,
        "segments/bb/rows.parquet": "r" * 64,
        "deletions/d.npy": "d" * 64,
    }


def test_a_new_version_of_the_same_state_is_the_same() -> None:
    state = Consumed(3, "c")
    assert state.same_as(Consumed(4, "c"))
    assert not state.same_as(Consumed(3, "d"))
    assert not state.same_as(Consumed(3, "c", failed="f"))
    assert not state.same_as(Consumed(3, "c", newest="2026"))


def _fields(made: GenerationManifest) -> dict[str, object]:
    return {name: getattr(made, name) for name in GenerationManifest.__dataclass_fields__}

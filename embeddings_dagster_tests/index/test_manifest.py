"""A manifest says the same after a trip through JSON, and knows what it needs."""

import json

from embeddings_dagster.index import Consumed, DeletionsEntry, FileEntry, GenerationManifest, SegmentEntry
from embeddings_dagster.store.versions import seal
from embeddings_dagster_tests.index.helpers import manifest

FILES = {name: FileEntry(10, name[0] * 64) for name in ("index.faiss", "vectors.npy", "rows.parquet")}
WHOLE = SegmentEntry("aa", "flat", 5, FILES)
CUT = SegmentEntry("bb", "flat", 5, FILES, DeletionsEntry("deletions/d.npy", 2, 144, "d" * 64))


def test_comes_back_from_json_as_it_was() -> None:
    made = manifest(WHOLE, CUT, consumed={"art__0001": Consumed(3, "c" * 64, "", "2026-01-01T00:00:00.000000+00:00")})
    document = json.loads(json.dumps(seal(made.to_document())))
    again = GenerationManifest.from_document(document)
    assert again == GenerationManifest(**{**_fields(made), "self_sha256": document["self_sha256"]})


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

"""The version chain of an index: one author for each generation, and all of them readable."""

import json
from pathlib import Path

import pytest

from embeddings_dagster.errors import CommitConflict, CorruptFile, UnknownItem
from embeddings_dagster.index import Generations
from embeddings_dagster_tests.index.helpers import manifest, pictures, segment, without


def test_there_is_none_at_first(generations: Generations) -> None:
    assert generations.latest() is None
    assert generations.numbers() == []


def test_each_commit_names_the_one_before(generations: Generations) -> None:
    first = generations.commit(None, manifest())
    second = generations.commit(first, manifest(segment(generations, pictures(2))))
    assert (first.version, first.previous) == (1, None)
    assert second.previous is not None
    assert (second.version, second.previous.version, second.previous.sha256) == (2, 1, first.self_sha256)
    assert generations.latest() == second == generations.get(2)


def test_who_loses_the_race_is_told(generations: Generations) -> None:
    first = generations.commit(None, manifest())
    won = generations.commit(first, manifest(segment(generations, pictures(1))))
    with pytest.raises(CommitConflict, match=r"index of toy \(0123456789ab\): version 2"):
        generations.commit(first, manifest())
    assert generations.latest() == won


def test_an_unknown_generation_is_named_with_those_there(generations: Generations) -> None:
    generations.commit(generations.commit(None, manifest()), manifest(segment(generations, pictures(1))))
    with pytest.raises(UnknownItem, match=r"no generation 7 \(there: 1, 2\).*index list"):
        generations.get(7)


def test_a_changed_manifest_is_refused(generations: Generations) -> None:
    generations.commit(None, manifest())
    path = Path(generations.store.root) / generations.folder / "manifests" / "00000001.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "pinned": True}, indent=1, sort_keys=True))
    with pytest.raises(CorruptFile, match=r"00000001\.json"):
        generations.latest()


def test_knows_every_path_a_generation_needs(generations: Generations) -> None:
    made = generations.commit(None, manifest(without(generations, segment(generations, pictures(3)), 1)))
    root = Path(generations.store.root)
    assert sorted(generations.referenced(made)) == sorted(
        str(path.relative_to(root)) for path in (root / generations.folder).rglob("*") if path.is_file()
    )

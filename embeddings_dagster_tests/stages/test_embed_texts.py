"""Vectors of the texts that records carry: as a query of the same words has them, made anew when the words change."""

from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import load
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.search import SearchService
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.explain import explain
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster_tests.stages.library import BATCH, Library

NAME = "clip_text"
LONG = "A red heart is drawn on the wall of the house. " * 30


def panel(x: int, words: str) -> dict[str, object]:
    return {"panel_coords": [x, 0, 20, 30], "text": {"dialogue": [words]}}


def encode(library: Library) -> Account:
    library.run()
    space = library.context.settings.spaces[NAME]
    return run_embed(library.context, NAME, space, LocalEngine(), BATCH)


def vectors(library: Library) -> dict[tuple[str, int], np.ndarray]:
    space = library.context.settings.spaces[NAME]
    found = identity(library.context.store, NAME, space)
    rows = library.rows(f"embeddings/{NAME}/{found.fp12}")
    assert {row["precision"] for row in rows} == {"fp32"}
    return {(row["image_id"], row["region"]): np.array(row["embedding"], np.float32) for row in rows}


@pytest.fixture
def pages(library: Library) -> Library:
    for number in (1, 2):
        library.picture(f"Foo/p{number}.png")
    library.spec("p1", panel(0, "a red heart"), panel(20, ""), panel(30, LONG))
    library.spec("p2")
    return library


def test_each_text_has_the_vector_of_a_query_of_its_words(pages: Library) -> None:
    done = encode(pages)
    assert (done.total, done.processed, done.failed) == (2, 2, 0)
    found = vectors(pages)
    assert {region for _, region in found} == {1, 3}
    encoder = load(pages.context.settings.models["clip"])
    (heart,) = [vector for (_, region), vector in found.items() if region == 1]
    assert np.allclose(heart, encoder.encode_text(["a red heart"])[0], atol=1e-6)
    (long,) = [vector for (_, region), vector in found.items() if region == 3]
    assert np.allclose(long, encoder.encode_long_text([LONG])[0], atol=1e-6)
    assert long @ encoder.encode_text([LONG])[0] < 0.9999  # which stops at the model's limit of tokens


def test_only_words_that_changed_are_encoded_again(pages: Library) -> None:
    encode(pages)
    before = vectors(pages)
    assert encode(pages).processed == 0
    pages.spec("p2", panel(0, "a blue cat"))
    assert encode(pages).processed == 1
    pages.spec("p1", panel(0, "a dog"), panel(20, ""), panel(30, LONG))
    done = encode(pages)
    assert (done.processed, done.skipped, done.removed) == (2, 1, 0)  # the page that changed, with all its texts
    after = vectors(pages)
    assert set(after) == set(before) | {key for key in after if key not in before}
    pages.spec("p1")
    assert encode(pages).removed == 2


def test_a_search_among_texts_finds_the_panel_in_which_they_are(pages: Library) -> None:
    pages.spec("p2", panel(0, "a dog that eats pizza"), panel(30, "a red heart"))
    encode(pages)
    refresh_index(pages.context, NAME)
    found = SearchService(pages.context.settings, pages.context.store).search("a dog that eats pizza", model=NAME)
    best = found.hits[0]
    assert (best.image_id.endswith("p2.json"), best.region) == (True, 1)
    assert best.score == pytest.approx(1, abs=1e-5)


def test_explain_tells_of_texts_where_there_are_any(pages: Library) -> None:
    encode(pages)
    settings, store = pages.context.settings, pages.context.store
    identities = {NAME: identity(store, NAME, settings.spaces[NAME])}
    told = {step.stage: step.state for step in explain(store, settings, identities, "p1.json").steps}
    assert told["clip_text_embeddings"] == "current"
    assert "clip_text_embeddings" not in {step.stage for step in explain(store, settings, identities, "p2.json").steps}


def test_a_project_without_texts_has_no_space_for_them(tmp_path: Path, small: object) -> None:
    assert list(small.settings.spaces) == ["clip", "dino"]  # type: ignore[attr-defined]

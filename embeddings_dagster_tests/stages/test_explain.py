"""Explain: the state of one image at each stage, with the reason where it is not current."""

import pytest

from embeddings_dagster.encoders import identify
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.errors import UnknownItem
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.explain import Step, explain
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster_tests.encoders import own
from embeddings_dagster_tests.stages.library import BATCH as BOOK
from embeddings_dagster_tests.stages.library import Library
from embeddings_dagster_tests.stages.small_project import BATCH, SmallProject


def steps(small: SmallProject, name: str) -> dict[str, Step]:
    """From ledger to pixels."""
    *found, _ = explain(small.store, small.settings, {}, f"pics:{name}").steps
    return {step.stage: step for step in found}


def catalogued(small: SmallProject, name: str) -> Step:
    return explain(small.store, small.settings, {}, f"pics:{name}").steps[-1]


def states(small: SmallProject, name: str) -> list[str]:
    return [step.state for step in steps(small, name).values()]


def test_a_current_image_names_version_and_run_of_each_row(small: SmallProject) -> None:
    small.step("one")
    small.paint("b.png", "green")
    small.step("two")
    found = steps(small, "a.png")
    assert [(each.state, each.run_id) for each in found.values()] == [
        ("current", ""),
        ("current", "one"),
        ("current", "one"),
    ]
    latest = small.store.chain("raw_images", BATCH).latest()
    assert latest is not None
    assert found["raw_images"].version == latest.version
    assert found["raw_images"].details["format"] == "PNG"
    assert steps(small, "b.png")["raw_images"].run_id == "two"


def test_an_image_is_stale_from_where_its_input_changed(small: SmallProject) -> None:
    small.step("one")
    small.paint("a.png", "green")
    small.discover("two")
    assert states(small, "a.png") == ["current", "stale", "current"]
    assert "run it" in steps(small, "a.png")["raw_images"].why
    small.raw("two")
    assert states(small, "a.png") == ["current", "current", "stale"]


def test_a_failed_image_says_why_and_when_it_is_tried_again(small: SmallProject) -> None:
    small.step("one")
    assert states(small, "c.png") == ["current", "failed", "missing"]
    why = steps(small, "c.png")["raw_images"].why
    assert why.startswith("FormatNotAllowed: ")
    assert "tried once; tried again when it changes, or --retry-failed" in why


def test_an_image_that_no_run_has_reached_is_missing(small: SmallProject) -> None:
    small.discover("one")
    assert states(small, "a.png") == ["current", "missing", "missing"]


def test_a_removed_image_is_known_as_such(small: SmallProject) -> None:
    small.step("one")
    (small.pics / "a.png").unlink()
    small.discover("two")
    assert states(small, "a.png") == ["removed", "stale", "current"], "as each stage stands to the one before"
    assert "the next run removes it" in steps(small, "a.png")["raw_images"].why
    small.step("three")
    assert states(small, "a.png") == ["removed", "missing", "missing"]


def test_what_the_catalogue_has_of_an_image_is_the_last_step(small: SmallProject) -> None:
    small.step("one")
    assert (catalogued(small, "a.png").state, catalogued(small, "a.png").why) == (
        "missing",
        "there is no generation yet; run it",
    )
    refresh_catalog(small.context)
    found = catalogued(small, "a.png")
    assert (found.stage, found.state, found.batch, found.version) == ("search_catalog", "current", BATCH, 1)
    assert (catalogued(small, "c.png").state, catalogued(small, "c.png").why) == (
        "missing",
        "there is nothing upstream to make it from",
    )
    (small.pics / "a.png").unlink()
    small.step("two")
    assert catalogued(small, "a.png").state == "stale"
    refresh_catalog(small.context)
    assert catalogued(small, "a.png").state == "missing"


@pytest.mark.parametrize("unknown", ["pics:aa.png", "a", "pics:a"])
def test_an_unknown_id_brings_those_that_look_like_it(small: SmallProject, unknown: str) -> None:
    small.step("one")
    with pytest.raises(UnknownItem, match=r"did you mean .*'pics:a\.png'"):
        explain(small.store, small.settings, {}, unknown)


@pytest.mark.parametrize("end", ["pics:A.PNG", "a.png", "E:\\old\\..\\A.png"])
def test_the_end_of_an_id_is_enough_where_no_other_ends_so(small: SmallProject, end: str) -> None:
    small.step("one")
    assert explain(small.store, small.settings, {}, end).image_id == "pics:a.png"


def test_the_end_of_several_ids_names_them_and_one_that_is_gone_gives_way(small: SmallProject) -> None:
    (small.pics / "book").mkdir()
    small.paint("book/a.png", "green")
    (small.pics / "A.PNG").write_bytes((small.pics / "a.png").read_bytes())
    small.step("one")
    assert explain(small.store, small.settings, {}, "pics:a.png").image_id == "pics:a.png"
    several = r"'A\.png' is the end of pics:A\.PNG, pics:a\.png, pics:book/a\.png; give more of the path"
    with pytest.raises(UnknownItem, match=several):
        explain(small.store, small.settings, {}, "A.png")
    (small.pics / "a.png").unlink()
    small.step("two")
    assert explain(small.store, small.settings, {}, "A.png").image_id == "pics:A.PNG"


def test_an_id_like_no_other_brings_no_offer(small: SmallProject) -> None:
    with pytest.raises(UnknownItem, match="`embeddings status` shows what is there"):
        explain(small.store, small.settings, {}, "other:zzz")


def test_an_index_is_current_when_it_has_the_regions_that_did_not_fail(library: Library) -> None:
    library.picture("Foo/p1.png")
    library.spec("p1", {"bbox": [0, 0, 20, 30]}, {"bbox": [20, 30, 20, 30]})
    library.run()
    model = own.save(library.root / "model", max_regions=2)
    library.context.settings.models["pages"] = model
    identity = identify(model)
    account = run_embed(library.context, "pages", model, LocalEngine(), BOOK)
    assert (account.processed, account.failed) == (2, 1)
    refresh_index(library.context, "pages", identity)
    found = explain(library.context.store, library.context.settings, {"pages": identity}, "comics:Foo/p1.json").steps
    told = {step.stage: (step.state, step.why) for step in found}
    assert told["pages_embeddings"][0] == "failed"
    assert told["pages_embeddings"][1].startswith("region 2: TooManyRegions: ")
    assert told["pages_index"] == ("current", "")

"""A stage that loses or repeats an item says so and commits nothing as complete; the next run makes up for it.

What loses count here is made for the test and put in the place of a part of the product.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embeddings_dagster.errors import CountsDoNotReconcile
from embeddings_dagster.index import Generations
from embeddings_dagster.sources import Scan
from embeddings_dagster.sources.folder import FolderSource, _Walk
from embeddings_dagster.stages import discover as discover_module
from embeddings_dagster.stages import index_state as state_module
from embeddings_dagster.stages import raw as raw_module
from embeddings_dagster.stages import rgb as rgb_module
from embeddings_dagster.stages import scanned as scanned_module
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.catalog_checks import catalog_rows_equal_live_rows
from embeddings_dagster.stages.embed import dataset, run_embed
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.index_checks import index_rows_equal_live_rows
from embeddings_dagster.stages.index_state import IndexState, state_file
from embeddings_dagster.stages.ledger_plan import LedgerPlan
from embeddings_dagster.stages.statistics import Statistics, lost
from embeddings_dagster.store.tables import RGB
from embeddings_dagster_tests.stages.small_project import BATCH, SmallProject, small_project
from embeddings_dagster_tests.stages.toy_engine import ToyEngine

MODELS = {"dino": {"kind": "dino", "model": "bundled:dino", "device": "cpu"}}
REMEDY = r"Nothing was marked complete; run again, and report this if it comes back"

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def small(tmp_path: Path, _hasty: None) -> SmallProject:
    """`a.png` and `b.png`, and `c.png`, which is no picture; one model."""
    return small_project(tmp_path, models=MODELS)


def embed(small: SmallProject, engine: ToyEngine | None = None) -> Statistics:
    return run_embed(small.context, "dino", small.settings.models["dino"], engine or ToyEngine(), BATCH)


def index(small: SmallProject) -> Statistics:
    return refresh_index(small.context, "dino").statistics


def losing(message: str) -> AbstractContextManager[Any]:
    return pytest.raises(CountsDoNotReconcile, match=f"{message}.*{REMEDY}")


def counts(said: Statistics) -> tuple[int, int, int, int]:
    return said.total, said.processed, said.skipped, said.failed


def loses_the_last(work: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """In the place of `ordered_map`."""

    def broken(make: Callable[[str], Any], todo: Iterable[str], **options: Any) -> Iterator[Any]:
        return work(make, list(todo)[:-1], **options)

    return broken


def repeats_the_last(work: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def broken(make: Callable[[str], Any], todo: Iterable[str], **options: Any) -> Iterator[Any]:
        return work(make, [*todo, list(todo)[-1]], **options)

    return broken


def test_statistics_that_do_not_add_up_cannot_be_made() -> None:
    made = Statistics(stage="s", where="w", unit="rows", total=3, processed=1, skipped=1, failed=1,
                      reasons={"current": 1, "DecodeFailed": 1})  # fmt: skip
    for wrong in ({"total": 4}, {"processed": 4, "failed": -2}, {"reasons": {"current": 1}}):
        with pytest.raises(CountsDoNotReconcile, match="s of w lost count: "):
            replace(made, **wrong)  # type: ignore[arg-type]


def test_five_of_the_items_that_are_lost_are_named() -> None:
    error = lost("s", "w", "7 are gone", "abcdefg")
    assert str(error).startswith("s of w lost count: 7 are gone (a, b, c, d, e and 2 more). ")


def test_a_listing_that_passes_over_a_file_in_silence(small: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    take = _Walk._take
    with monkeypatch.context() as broken, losing("listing of pics lost count: 3 files were given, and 2 processed"):
        broken.setattr(_Walk, "_take", lambda self, entry, path: None if path == "b.png" else take(self, entry, path))
        small.discover("one")
    assert small.store.ledger("pics").latest() is None
    small.discover("two")
    assert small.store.ledger("pics").latest().batches[BATCH].live == 3  # type: ignore[union-attr]


def test_a_listing_that_has_a_picture_twice(small: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = FolderSource.scan

    def twice(self: FolderSource, known: Any = None) -> Scan:
        found = scan(self, known)
        return replace(found, entries=pa.concat_tables([found.entries.slice(0, 1), found.entries]))

    with monkeypatch.context() as broken, losing(r"listing of pics lost count: 1 pictures .* once \(a\.png\)"):
        broken.setattr(FolderSource, "scan", twice)
        small.discover("one")
    assert small.store.ledger("pics").latest() is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda plan: replace(plan, new=plan.new[1:]), "ledger of pics lost count: 3 images were given, and 2"),
        (
            lambda plan: replace(plan, batches={key: rows[1:] for key, rows in plan.batches.items()}),
            "ledger of pics lost count: 3 images more than before were given by the stage before, and 2 are taken",
        ),
    ],
)
def test_a_ledger_that_drops_a_picture_is_not_committed(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[LedgerPlan], LedgerPlan], message: str
) -> None:
    plan = scanned_module.plan_ledger
    with monkeypatch.context() as broken, losing(message):
        broken.setattr(scanned_module, "plan_ledger", lambda *args, **more: spoil(plan(*args, **more)))
        small.discover("one")
    assert small.store.ledger("pics").latest() is None


@pytest.mark.parametrize("stage", ["raw_images", "rgb_images"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (loses_the_last, "1 are neither rows nor failures"),
        (repeats_the_last, "were not to be made, or came before"),
    ],
)
def test_a_stage_that_loses_or_repeats_an_item(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch, stage: str, fault: Callable[[Any], Any], message: str
) -> None:
    small.discover("one")
    if stage == "rgb_images":
        small.raw("one")
    module = raw_module if stage == "raw_images" else rgb_module
    step = small.raw if stage == "raw_images" else small.rgb
    item = "c" if stage == "raw_images" else "b"
    with monkeypatch.context() as broken, losing(rf"{stage} of {BATCH} lost count: .*{message} \(pics:{item}\.png\)"):
        broken.setattr(module, "ordered_map", fault(module.ordered_map))
        step("one")
    assert small.store.chain(stage, BATCH).latest() is None
    step("two")
    assert small.store.chain(stage, BATCH).latest().counts.total == (3 if stage == "raw_images" else 2)  # type: ignore[union-attr]


def test_a_changed_item_that_is_lost_does_not_pass_for_its_old_row(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old row is still there, so that rows and failures add up to the total."""
    small.step("one")
    version = small.store.chain("rgb_images", BATCH).latest()
    small.paint("b.png", "green")
    small.discover("two")
    small.raw("two")
    with monkeypatch.context() as broken, losing("1 are neither rows nor failures"):
        broken.setattr(rgb_module, "ordered_map", loses_the_last(rgb_module.ordered_map))
        small.rgb("two")
    assert small.store.chain("rgb_images", BATCH).latest() == version


@pytest.mark.parametrize(
    ("fault", "message"),
    [("lost", "1 are neither rows nor failures"), ("again", "or came before"), ("strange", "were not to be made")],
)
def test_an_engine_that_loses_or_repeats_a_picture(small: SmallProject, fault: str, message: str) -> None:
    small.step("one")
    with losing(f"dino_embeddings of {BATCH} lost count: .*{message}"):
        embed(small, ToyEngine(**{fault: {"pics:b.png"}}))
    place = dataset("dino", identity(small.store, "dino", small.settings.models["dino"]))
    assert small.store.chain(place, BATCH).latest() is None
    made = embed(small)
    assert (made.total, made.failed) == (2, 0), "what was whole before the fault may be kept, and is skipped then"
    assert small.store.chain(place, BATCH).latest().counts.ok == 2  # type: ignore[union-attr]


def offers_less(monkeypatch: pytest.MonkeyPatch) -> None:
    offer = IndexState.offer
    monkeypatch.setattr(IndexState, "offer", lambda self, batch, rows: offer(self, batch, list(rows)[1:]))


def places_less(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = state_module.wanted_rows
    monkeypatch.setattr(state_module, "wanted_rows", lambda offers: dict(list(wanted(offers).items())[1:]))


@pytest.mark.parametrize("fault", [offers_less, places_less])
def test_an_index_and_a_catalogue_that_lose_a_row(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch, fault: Break
) -> None:
    small.step("one")
    embed(small)
    which = identity(small.store, "dino", small.settings.models["dino"])
    with monkeypatch.context() as broken:
        fault(broken)
        with losing("dino_index.* lost count: "):
            index(small)
        with losing("search_catalog.* lost count: "):
            refresh_catalog(small.context)
    assert Generations(small.store, "dino", which.fp12).latest() is None
    assert not list((Path(small.store.root) / "indexes").rglob("*.faiss")), "what was written was taken back"
    assert (counts(index(small)), counts(refresh_catalog(small.context).statistics)) == ((2, 2, 0, 0), (2, 2, 0, 0))
    assert index_rows_equal_live_rows(small.store, "dino", which).passed
    assert catalog_rows_equal_live_rows(small.store).passed


def test_a_derived_state_that_lost_a_row_is_made_anew(small: SmallProject) -> None:
    """It lies under `cache`, so that whatever is wrong in it heals by itself."""
    small.step("one")
    embed(small)
    index(small)
    which = identity(small.store, "dino", small.settings.models["dino"])
    small.paint("d.png", "yellow")
    small.step("two")
    embed(small)
    with state_module.index_state(state_file(small.store.cache, "dino", which.fp12)) as state:
        state._db.execute("insert into superseded values ('pics:ghost.png', 1)")
    assert counts(index(small)) == (3, 1, 2, 0)
    assert index_rows_equal_live_rows(small.store, "dino", which).passed


def test_an_index_that_lost_a_row_fails_its_check_and_heals_by_force(small: SmallProject) -> None:
    small.step("one")
    embed(small)
    index(small)
    which = identity(small.store, "dino", small.settings.models["dino"])
    generations = Generations(small.store, "dino", which.fp12)
    base = generations.latest()
    assert base is not None
    generations.commit(base, replace(base, segments=()))
    found = index_rows_equal_live_rows(small.store, "dino", which)
    assert (found.passed, found.behind) == (False, False)
    assert "0 rows for 2 live ones: 2 missing, 0 outdated, 0 superfluous, though nothing changed" in found.description
    refresh_index(replace(small.context, force=True), "dino")
    assert index_rows_equal_live_rows(small.store, "dino", which).passed


def test_what_upstream_counts_and_does_not_hold_is_not_gone_on_from(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.step("one")
    chain = small.store.chain("rgb_images", BATCH)
    rows = chain.rows

    def fewer(*args: Any) -> pa.Table:
        return rows(*args).slice(1)

    with monkeypatch.context() as broken, losing("dino_embeddings of .*: 2 regions were given .* and 1 are taken"):
        broken.setattr(type(chain), "rows", lambda self, *args: fewer(*args))
        embed(small)


def test_a_row_that_was_lost_in_the_store_is_made_again(small: SmallProject) -> None:
    """By whom it was lost does not matter: a whole version with a row less, and counts that agree with it."""
    small.step("one")
    chain = small.store.chain("rgb_images", BATCH)
    manifest = chain.latest()
    assert manifest is not None
    writer = chain.writer(RGB, run_id="thief", label=manifest.label)
    writer.drop([next(iter(writer.present()))])
    writer.finish(inputs=manifest.inputs, total=1)
    small.rgb("two")
    assert chain.latest().counts.ok == 2  # type: ignore[union-attr]


def test_discovery_is_what_it_was(small: SmallProject) -> None:
    found = discover_module.discover(small.context, "pics", wait=True)
    assert found.listing is not None
    assert found.listing.counts == {
        "stage": "listing", "where": "pics", "unit": "files", "total": 3, "processed": 3, "skipped": 0, "failed": 0,
        "reasons": {}, "removed": 0, "seconds": 0.0,
    }  # fmt: skip
    assert counts(found.statistics) == (3, 3, 0, 0)

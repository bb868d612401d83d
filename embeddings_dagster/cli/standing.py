"""`status`: per source what is there and whether it is current, per model what answers searches."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from embeddings_dagster.cli.models import say_changeovers
from embeddings_dagster.cli.options import AsJson, SourceName, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import Column, moment, note, said_recall, say, say_json, say_table, size

if TYPE_CHECKING:
    from embeddings_dagster.stages.catalog_checks import CatalogStatus
    from embeddings_dagster.stages.model_status import ModelStatus
    from embeddings_dagster.stages.status import BatchStatus

PANEL = "Look"

Checked = tuple[str, bool, str]  # what was looked at, whether it passed, and what is wrong


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings status", "embeddings status --json"))(status)


def status(context: typer.Context, source: SourceName = None, as_json: AsJson = False) -> None:
    """Show what there is: batches, images, rows, failures, what is stale, which models and indexes serve."""
    from embeddings_dagster.stages.catalog_checks import catalog_status
    from embeddings_dagster.stages.model_status import model_statuses
    from embeddings_dagster.stages.status import batch_statuses

    project = here(context)
    project.require_source(source)
    identities = project.identities()
    batches = list(batch_statuses(project.store, project.settings, identities, source))
    models = model_statuses(project.store, project.settings, identities)
    catalogue = catalog_status(project.store)
    found = checks(batches, models, catalogue)
    if as_json:
        say_json(_document(project, batches, models, catalogue, found))
        return
    say(f"store {project.store.root}", style="bold")
    _say_sources(project, batches, source)
    _say_models(models)
    _say_catalogue(catalogue)
    _say_checks(found, any_batch=bool(batches))


def _document(
    project: Here,
    batches: "list[BatchStatus]",
    models: "list[ModelStatus]",
    catalogue: "CatalogStatus | None",
    found: "list[Checked]",
) -> dict[str, object]:
    from embeddings_dagster.stages.status import statistics_of

    by_source = {name: [each for each in batches if each.source == name] for name in _sources(project, batches, None)}
    return {
        "store": project.store.root,
        "statistics": [each.counts for name, mine in by_source.items() for each in statistics_of(name, mine)],
        "sources": [{"source": name, "batches": [asdict(each) for each in mine]} for name, mine in by_source.items()],
        "models": [asdict(each) for each in models],
        "catalog": catalogue and asdict(catalogue),
        "checks": [{"check": check, "passed": passed, "detail": detail} for check, passed, detail in found],
    }


def _sources(project: Here, batches: "list[BatchStatus]", source: str | None) -> list[str]:
    return [source] if source else sorted({*project.settings.sources, *(each.source for each in batches)})


def _say_sources(project: Here, batches: "list[BatchStatus]", source: str | None) -> None:
    from embeddings_dagster.stages.status import totals

    columns = [Column("source"), Column("batches", right=True), Column("images", right=True), Column("stage"),
               Column("rows", right=True), Column("failed", right=True), Column("size", right=True),
               Column("state")]  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for name in _sources(project, batches, source):
        mine = [each for each in batches if each.source == name]
        head: tuple[object, ...] = (name, len(mine), sum(each.images for each in mine))
        for total in totals(mine):
            state = "current" if set(total.states) == {"current"} else ", ".join(
                f"{count:,} {state}" for state, count in total.states.items() if state != "current"
            )  # fmt: skip
            rows.append((*head, total.stage, total.rows, total.failed or None, size(total.bytes), state))
            head = (None, None, None)
        if not mine:
            rows.append((*head, None, None, None, None, "nothing yet: `embeddings run`"))
    say_table(columns, rows)


def _say_models(models: "list[ModelStatus]") -> None:
    columns = [Column("model"), Column("what", fold=True), Column("fingerprint", style="dim"), Column("serves"),
               Column("generation", right=True), Column("rows", right=True), Column("recall@10"),
               Column("made"), Column("index", fold=True)]  # fmt: skip
    rows = []
    for each in models:
        index = each.index
        state = "none yet" if index is None else "pinned" if index.pinned else "current" if index.current else index.why
        recall = index and f"{said_recall(index.recall)} (≥ {index.recall_target:g} asked)"
        rows.append((each.name, each.model, each.fingerprint[:12], each.serving, index and index.generation,
                     index and index.rows, recall, moment(index.committed if index else None), state))  # fmt: skip
    say_table(columns, rows)
    say_changeovers(models)


def _say_catalogue(catalogue: "CatalogStatus | None") -> None:
    if catalogue is not None:
        state = "current" if catalogue.current else catalogue.why
        say(
            f"search_catalog: generation {catalogue.generation}, {catalogue.rows:,} rows of {catalogue.images:,} "
            f"images, {size(catalogue.bytes)}, made {moment(catalogue.committed)}, {state}"
        )


def checks(
    batches: "list[BatchStatus]", models: "list[ModelStatus]", catalogue: "CatalogStatus | None"
) -> "list[Checked]":
    """Each over everything: counts reconcile, all is current, indexes and catalogue are current."""
    lost = [each.batch for each in batches if not each.reconciles]
    stale = [each.batch for each in batches if not each.current]
    wanted = [each for each in models if each.wanted]
    behind = [each.name for each in wanted if each.index is None or not each.index.current]
    short = [each.name for each in wanted if each.index is not None and each.index.recall < each.index.recall_target]
    pinned = [each.name for each in wanted if each.index is not None and each.index.pinned]
    return [
        ("every image is a row or a failure", not lost, _some(lost)),
        ("every batch is current", not stale, _some(stale)),
        ("every index has taken in what there is", not behind, _some(behind)),
        ("every index finds as much as the settings ask for", not short, _some(short)),
        ("no index is pinned by a rollback", not pinned, _some(pinned)),
        ("the catalogue has taken in what there is", *_taken_in(batches, catalogue)),
    ]


def _taken_in(batches: "list[BatchStatus]", catalogue: "CatalogStatus | None") -> tuple[bool, str]:
    if catalogue is not None:
        return catalogue.current, catalogue.why
    return not any(each.stages[0].version for each in batches), "there is none yet"


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown:,} more" if len(names) > shown else "")


def _say_checks(found: "list[Checked]", *, any_batch: bool) -> None:
    for check, passed, detail in found:
        if not passed:
            say(f"✗ {check}: not {detail}", style="yellow")
    if all(passed for _, passed, _ in found):
        say("✓ " + "; ".join(check for check, _, _ in found), style="green")
    elif any_batch:
        note("`embeddings plan` shows what a run would do, `embeddings run` does it")

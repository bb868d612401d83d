"""`plan`: what a run would do, and what that would cost; nothing is changed, nothing is waited for."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, BatchKey, ModelName, SourceName, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import Column, duration, note, say, say_json, say_table, size
from embeddings_dagster.errors import EmbeddingsError

if TYPE_CHECKING:
    from embeddings_dagster.encoders import ModelIdentity
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.discover import Survey
    from embeddings_dagster.stages.preview import Estimate, Pace
    from embeddings_dagster.stages.preview_read import BatchPreview

PANEL = "Run"
SHOWN = 20  # batches listed; `--json` has them all
KINDS = ("new", "changed", "returned", "moved", "gone", "left_out")


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings plan --source art", "embeddings plan --json"))(plan)


@dataclass(frozen=True)
class Outlook:
    """What a run would do to one source; `refused`: why it would stop before doing anything."""

    source: str
    survey: "Survey"
    batches: "tuple[BatchPreview, ...]"
    refused: str

    @property
    def counts(self) -> dict[str, int]:
        """Images by what became of them since the last discovery."""
        return {kind: len(getattr(self.survey.plan, kind)) for kind in KINDS}


def plan(
    context: typer.Context,
    source: SourceName = None,
    batch: BatchKey = None,
    model: ModelName = None,
    sample: Annotated[int | None, typer.Option(help="As if at most these many images might enter.", min=1)] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="As with run --retry-failed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="As with run --force.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do: new, changed, moved, gone, failed-and-retryable, and about how long it would take."""
    from embeddings_dagster.cli.running import any_is_behind
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.preview import estimate

    project = here(context)
    names = project.source_names(source, batch)
    wanted = {name: each for name, each in project.identities().items() if model in (None, name)}
    stage = StageContext(project.settings, project.store, run_id="plan", log=note, stop=threading.Event(),
                         retry_failed=retry_failed, force=force)  # fmt: skip
    outlooks = [_outlook(stage, wanted, name, batch, sample) for name in names]
    stages = [each for outlook in outlooks for preview in outlook.batches for each in preview.stages]
    cost = estimate(stages, past_pace(project, list(dict.fromkeys(each.stage for each in stages))))
    behind = any_is_behind(project, wanted)
    if as_json:
        documents = [_document(each) for each in outlooks]
        say_json({"sources": documents, "indexes_behind": behind, "estimate": asdict(cost)})
    else:
        _say(outlooks, cost, behind)


def _outlook(stage: "StageContext", wanted: Mapping[str, "ModelIdentity"], name: str, batch: str | None,
             sample: int | None) -> Outlook:  # fmt: skip
    from embeddings_dagster.stages.discover import survey
    from embeddings_dagster.stages.ledger_plan import refuse_implausible_removal
    from embeddings_dagster.stages.preview_read import preview_source

    found = survey(stage, name, sample=sample)
    refused = ""
    try:
        refuse_implausible_removal(found.plan, stage.settings.removals)
    except EmbeddingsError as error:
        refused = str(error)
    previews = preview_source(stage, wanted, name, found)
    return Outlook(name, found, tuple(each for each in previews if batch in (None, each.batch)), refused)


def past_pace(project: Here, stages: list[str]) -> "Mapping[str, Pace]":
    """How fast the stages were in past runs; nothing, and nothing is created, where there was none."""
    from embeddings_dagster.defs.history import past_pace as asked
    from embeddings_dagster.defs.home import project_home, project_instance

    if not project_home(project.settings).is_dir():
        return {}
    with project_instance(project.settings) as instance:
        return asked(instance, stages)


def _document(outlook: Outlook) -> dict[str, object]:
    return {
        "source": outlook.source,
        "found": len(outlook.survey.scan.entries),
        **outlook.counts,
        "unchanged": outlook.survey.plan.unchanged,
        "refused": outlook.refused or None,
        "problems": [asdict(problem) for problem in outlook.survey.scan.problems],
        "ignored": dict(outlook.survey.scan.ignored),
        "batches": [
            {
                "batch": each.batch,
                "images": each.images,
                "stages": [{**asdict(stage), "todo": stage.todo} for stage in each.stages],
            }
            for each in outlook.batches
        ],
    }


def _say(outlooks: list[Outlook], cost: "Estimate", behind: bool) -> None:
    kinds = [Column(kind.replace("_", " "), right=True) for kind in KINDS]
    columns = [Column("source"), Column("found", right=True), *kinds, Column("unchanged", right=True)]
    rows = []
    for each in outlooks:
        counts = [each.counts[kind] or None for kind in KINDS]
        rows.append((each.source, len(each.survey.scan.entries), *counts, each.survey.plan.unchanged))
    say_table(columns, rows)
    for each in outlooks:
        for problem in each.survey.scan.problems:
            note(f"{each.source}: {problem.location}: {problem.reason}", style="yellow")
        if each.refused:
            note(f"a run would stop: {each.refused}", style="red")
    busy = [preview for each in outlooks for preview in each.batches if preview.todo]
    if not busy:
        if behind:
            say("every batch is current; a run would bring the indexes or the catalogue up to date")
        else:
            say("nothing to do: everything is current", style="green")
        return
    _say_batches(busy)
    todo = sum(stage.todo for preview in busy for stage in preview.stages)
    if todo:
        _say_cost(cost)


def _say_batches(busy: "list[BatchPreview]") -> None:
    columns = [Column("batch"), Column("images", right=True), Column("stage"), Column("new", right=True),
               Column("changed", right=True), Column("retried", right=True), Column("gone", right=True),
               Column("kept", right=True), Column("failed", right=True)]  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for preview in busy[:SHOWN]:
        head: tuple[object, ...] = (preview.batch, preview.images)
        for stage in preview.stages:
            rows.append((*head, stage.stage, stage.new or None, stage.changed or None, stage.retried or None,
                         stage.gone or None, stage.kept or None, stage.waiting or None))  # fmt: skip
            head = (None, None)
    say_table(columns, rows)
    if len(busy) > SHOWN:
        note(f"and {len(busy) - SHOWN:,} more batches; `--json` lists them all")


def _say_cost(cost: "Estimate") -> None:
    if cost.seconds:
        say(f"about {duration(cost.seconds)}, {size(cost.bytes)} to write, by past runs; less where files only moved")
    if cost.unknown:
        note(f"no past run to go by for {', '.join(cost.unknown)}")

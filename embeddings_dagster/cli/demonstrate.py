"""`demo`: the whole graph on the sample, then twenty words and twenty searches of other kinds, a picture, a word in the
records, and where to look next."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.catalog import say_records
from embeddings_dagster.cli.hits import say_results
from embeddings_dagster.cli.options import example
from embeddings_dagster.cli.progress import RunProgress
from embeddings_dagster.cli.project import Here
from embeddings_dagster.cli.report import say_report
from embeddings_dagster.cli.start import use_own_home
from embeddings_dagster.cli.terminal import Column, command_name, note, say, say_table

if TYPE_CHECKING:
    from embeddings_dagster.demo import Answer, Judged, Sample
    from embeddings_dagster.search import SearchService

PANEL = "Start"
WORD, RECORDS = "red", 8
LOOKED_AT = 10  # hits in which a question's picture is looked for; further down it counts as not found


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings demo", "embeddings demo /tmp/demo"))(demo)


def demo(
    folder: Annotated[Path, typer.Argument(help="Where it takes place; a folder of its own.")] = Path("demo"),
) -> None:
    """Run the whole graph on the sample, offline, with the bundled models, and ask it twenty questions."""
    from embeddings_dagster.cli.running import Wish, execute
    from embeddings_dagster.demo import FIRST, NEEDED, answer_searches, find_sample, found, open_shop, prepare
    from embeddings_dagster.search import SearchService

    sample = find_sample()
    file, settings = prepare(folder, sample)
    use_own_home(settings)
    project = Here(file, settings)
    with open_shop(sample.folder / "shop", file.parent), RunProgress() as progress:
        report = execute(project, Wish(tuple(settings.sources)), progress)
    say_report(report)
    if report.problems:
        raise typer.Exit(1)
    service = SearchService(settings, project.store)
    answers = _ask(service, sample)
    _say_answers(answers)
    count = found(answers)
    good = count >= NEEDED
    say(f"{count} of {len(answers)} in the first {FIRST}", style="green" if good else "red")
    judged = answer_searches(service, sample)
    _say_judged(judged)
    good = good and all(each.passed for each in judged)
    _ask_with_picture(service, sample)
    _ask_records(project)
    _say_next(file)
    if not good:
        note("error: more was expected; the bundled models are damaged or not those of this release", "red")
        raise typer.Exit(1)


def _ask(service: "SearchService", sample: "Sample") -> "list[Answer]":
    from embeddings_dagster.demo import answer

    answers = []
    for query in sample.queries:
        hits = service.search(query.text, model="clip", k=LOOKED_AT).hits
        answers.append(answer(query, [hit.image_id for hit in hits]))
    return answers


def _say_answers(answers: "list[Answer]") -> None:
    columns = [Column("question"), Column("rank", right=True), Column("first found", style="dim")]
    rows = [(each.query.text, each.rank or f">{LOOKED_AT}", "  ".join(each.shown)) for each in answers]
    say_table(columns, rows, title=f"{len(answers)} questions, by text")


def _say_judged(judged: "list[Judged]") -> None:
    say()
    columns = [Column("search"), Column("relevant", right=True), Column("first found", style="dim")]
    rows = [(each.search.name, f"{each.precision:.0%} of {each.of}", "  ".join(each.shown)) for each in judged]
    say_table(columns, rows, title=f"{len(judged)} searches of other kinds: how many of the first are relevant")
    mean = sum(each.precision for each in judged) / len(judged)
    reached = sum(each.passed for each in judged)
    style = "green" if reached == len(judged) else "red"
    say(f"{mean:.0%} on average; {reached} of {len(judged)} as good as expected", style=style)


def _ask_with_picture(service: "SearchService", sample: "Sample") -> None:
    from embeddings_dagster.demo import IMAGE_QUERY

    say()
    say("and one by picture, the second model's view of what looks alike", style="bold")
    say_results(service.search(image=sample.folder / IMAGE_QUERY, model="dino", k=5))


def _ask_records(project: Here) -> None:
    from embeddings_dagster.catalog import Catalogue, Filter

    say()
    say(f"and one to the records of all sources, which needs no model: {WORD}", style="bold")
    with Catalogue(project.store).open() as snapshot:
        say_records(snapshot.find(Filter(text=WORD), limit=RECORDS), ranked=True, regions=False)


def _say_next(file: Path) -> None:
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    command, settings = command_name(), shlex.quote(str(shown))
    say()
    say("next", style="bold")
    say(f"  ask it yourself    {command} --settings {settings} search 'red heart'")
    say(f"  filter and count   {command} --settings {settings} catalog --where 'price<=5' --facet brand")
    say(f"  what failed        {command} --settings {settings} failures")
    say("  see it in the UI   make ui        then http://127.0.0.1:3000")
    say(f"  your own pictures  {command} init --source FOLDER, then {command} run")
    say("  how it works       README.md, docs/")

"""`model`: which fingerprint of a model answers searches, how far the next one is, and the switch by hand."""

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embeddings_dagster.cli.options import AsJson, example
from embeddings_dagster.cli.project import Here, here
from embeddings_dagster.cli.terminal import Column, note, say, say_json, say_table
from embeddings_dagster.errors import ModelUnavailable, UnknownItem

if TYPE_CHECKING:
    from embeddings_dagster.encoders import ModelIdentity
    from embeddings_dagster.stages.model_status import Changeover, ModelStatus
    from embeddings_dagster.stages.switching import Switch

PANEL = "Manage"
SAID = 12  # digits of a fingerprint in words
SWITCH = (
    "Choose which fingerprint of a model answers searches.\n\n"
    "Without this command, the fingerprint that the settings ask for serves as soon as it is complete. One that lacks "
    "anything is refused, with the reasons, unless --force. Running searches take a switch up within a second.\n\n"
    "A switch to any other than the settings ask for is held: no run undoes it, until `model switch NAME`, --release, "
    "or settings that ask for yet another fingerprint. Meanwhile runs encode with the settings' model alone, so "
    "pictures that come are not found by the one that is held."
)


def register(app: typer.Typer) -> None:
    """Add this module's group of commands."""
    model = typer.Typer(no_args_is_help=True, help="The models, their fingerprints, and which of them serves.")
    model.command("list", epilog=example("embeddings model list --json"))(model_list)
    model.command(
        "switch",
        help=SWITCH,
        epilog=example(
            "embeddings model switch clip",
            "embeddings model switch clip 1a2b3c",
            "embeddings model switch clip --release",
        ),
    )(model_switch)
    app.add_typer(model, name="model", rich_help_panel=PANEL, epilog=example("embeddings model list"))


def model_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List each model's fingerprints: what the settings ask for, what serves, and what a switch would change."""
    from embeddings_dagster.stages.model_status import model_statuses

    project = here(context)
    found = model_statuses(project.store, project.settings, project.identities())
    if as_json:
        say_json([asdict(each) for each in found])
        return
    columns = [Column("model"), Column("kind"), Column("what", fold=True), Column("fingerprint", style="dim"),
               Column("dimension", right=True), Column("in settings"), Column("serves"),
               Column("indexed rows", right=True)]  # fmt: skip
    say_table(
        columns,
        [
            (each.name, each.kind, each.model, each.fingerprint[:SAID], each.dimension, each.wanted, each.serving,
             each.index.rows if each.index else None)
            for each in found
        ],
    )  # fmt: skip
    say_changeovers(found)


def say_changeovers(models: "list[ModelStatus]") -> None:
    """A line for each model of which another fingerprint serves than the settings ask for, and what keeps it so."""
    for each in models:
        if each.changeover is not None:
            say(f"{each.name}: {_in_words(each.fingerprint[:SAID], each.changeover)}")
            for line in each.changeover.progress.missing:
                say(f"  {line}", style="dim")


def _in_words(wanted: str, change: "Changeover") -> str:
    """`1a2b… serves; 3c4d… is being built: 3 of 10 batches, 31 %, neighbours overlap 0.84 (…)`."""
    done = change.progress
    if change.held:
        says = f"{change.serving[:SAID]} serves, held by hand; {wanted}, which the settings ask for, is "
        says += "complete" if not done.missing else "not complete"
    else:
        says = f"{change.serving[:SAID]} serves; {wanted} is " + (
            "being built" if done.missing else "complete, and serves after the next run"
        )
    says += f": {done.complete:,} of {done.batches:,} batches, {_percent(done.share)}"
    overlap = change.overlap
    if overlap is None:
        return f"{says}, neighbours not compared: {change.no_overlap}"
    return (
        f"{says}, neighbours overlap {overlap.mean:.2f}, in the worst tenth {overlap.worst_decile:.2f} "
        f"({overlap.queries:,} queries over {overlap.rows:,} rows)"
    )


def _percent(share: float) -> str:
    """Rounded down: 100 % is everything."""
    return f"{int(share * 100)} %"


def model_switch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, by its name in the settings.")],
    fingerprint: Annotated[
        str | None,
        typer.Argument(metavar="FINGERPRINT", help="Its first digits; default: the one that the settings ask for."),
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="End a hold: the settings' fingerprint serves as soon as it is ready.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Switch although something is missing, which is then not found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Choose which fingerprint of a model answers searches."""
    from embeddings_dagster.stages import switching
    from embeddings_dagster.stages.context import StageContext

    project = here(context)
    if release and (fingerprint is not None or force):
        raise typer.BadParameter("--release goes with neither a fingerprint nor --force")
    identity = _identity(project, name)
    if release:
        switching.release(project.store, name)
        stage = StageContext(project.settings, project.store, run_id="cli", log=note, stop=threading.Event())
        done = switching.switch_when_ready(stage, name, identity)
    else:
        done = switching.switch_by_hand(project.store, name, identity, fingerprint, force=force)
    if as_json:
        say_json(asdict(done))
    else:
        _say_switch(done, identity)


def _identity(project: Here, name: str) -> "ModelIdentity":
    """What the settings ask for.

    Raises:
        UnknownItem: they name no such model.
        ModelUnavailable: its files are not here, so its fingerprint is not known.
    """
    if name not in project.settings.spaces:
        known = ", ".join(project.settings.spaces)
        raise UnknownItem(f"no model {name!r} in the settings (there: {known}); correct the name")
    identities = project.identities()
    if name not in identities:
        raise ModelUnavailable(
            f"which fingerprint of {name} the settings ask for cannot be told here, so nothing was switched; bring its "
            "files here, or set the model that is to serve in the settings"
        )
    return identities[name]


def _say_switch(done: "Switch", identity: "ModelIdentity") -> None:
    serves = done.serving[:SAID] if done.serving else "nothing"
    before = f", instead of {done.before[:SAID]}" if done.switched and done.before else ""
    say(f"{done.model}: {serves} serves{' now' if done.switched else ''}{before}")
    if done.held:
        note(f"held: runs encode with {identity.fp12} alone, and `embeddings model switch {done.model}` goes to it")
    for reason in done.reasons:
        note(f"missing: {reason}")

"""`init` and `demo`: how one begins."""

import os
from pathlib import Path
from typing import Annotated

import typer

from embeddings_dagster.cli.options import Folder, example
from embeddings_dagster.cli.project import HOME_NAME, HOME_VARIABLE
from embeddings_dagster.cli.template import render, source_name
from embeddings_dagster.cli.terminal import command_name, say
from embeddings_dagster.errors import SettingsError
from embeddings_dagster.settings import FILE_NAME, Settings, load_settings

DEFAULT_SOURCE = "pictures"
PANEL = "Start"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(rich_help_panel=PANEL, epilog=example("embeddings init --source ~/Pictures/artwork"))(init)


def init(
    folder: Folder = Path(),
    source: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of pictures to begin with; may be given several times.", metavar="PATH"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the settings file that is there.")] = False,
) -> None:
    """Write a commented embeddings.yaml, the data folder and Dagster's folder, and say what comes next."""
    file = folder.absolute() / FILE_NAME
    if file.exists() and not force:
        raise SettingsError(f"{file} is there already; edit it, or write it anew with `embeddings init --force`")
    sources = _named_sources(file.parent, source or [])
    file.parent.mkdir(parents=True, exist_ok=True)
    if not source:
        (file.parent / DEFAULT_SOURCE).mkdir(exist_ok=True)
    from embeddings_dagster.defs.resources import gpus

    file.write_text(render(sources, gpus=gpus()), encoding="utf-8")
    settings = load_settings(file)
    if "://" not in settings.data:
        Path(settings.data_root).mkdir(parents=True, exist_ok=True)
    use_own_home(settings)
    _say_next(file, empty=not source)


def use_own_home(settings: Settings) -> None:
    """Work with Dagster's folder beside the settings, whatever `DAGSTER_HOME` says; made, with the pools' limits, when
    it is not there yet."""
    home = settings.root / HOME_NAME
    os.environ[HOME_VARIABLE] = str(home)
    if (home / "dagster.yaml").exists():
        return
    from embeddings_dagster.defs.home import project_instance
    from embeddings_dagster.defs.lifecycle import set_pool_limits
    from embeddings_dagster.defs.resources import Project

    with project_instance(settings) as instance:
        set_pool_limits(instance, Project(settings).pool_limits())


def _named_sources(root: Path, folders: list[Path]) -> dict[str, str]:
    """Source name -> path as the settings file writes it: relative to `root` where it lies beneath."""
    sources: dict[str, str] = {}
    for folder in folders:
        there = folder.expanduser().absolute()
        if not there.is_dir():
            raise SettingsError(f"--source {folder}: no such folder; create it, or correct the path")
        path = there.relative_to(root) if there.is_relative_to(root) else there
        sources[source_name(there.resolve(), sources)] = path.as_posix()
    return sources or {DEFAULT_SOURCE: DEFAULT_SOURCE}


def _say_next(file: Path, *, empty: bool) -> None:
    say(f"wrote {file}")
    say()
    say("next:", style="bold")
    if empty:
        say(f"  put pictures into {file.parent / DEFAULT_SOURCE}, or name your own folder in {FILE_NAME}")
    if file.parent != Path.cwd():
        say(f"  cd {file.parent}")
    say(f"  export DAGSTER_HOME={file.parent / HOME_NAME}")
    command = command_name()
    say(f"  {command} run")
    say(f"  {command} search 'red heart'")

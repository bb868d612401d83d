"""Every command and option says what it is for, with an example, and saying so loads nothing heavy."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from embeddings_dagster import __version__
from embeddings_dagster.cli.app import app
from embeddings_dagster_tests.cli.command import COMMAND, run

HEAVY = ("torch", "transformers", "faiss", "dagster")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def test_the_commands_of_this_release_are_all_there() -> None:
    assert {" ".join(path) for path in ALL if path} == {
        "init", "demo", "plan", "run", "search", "status", "failures", "explain", "verify", "files", "doctor",
        "index", "index list", "index rollback", "index compact", "model", "model list", "model switch", "comics-specs",
        "catalog", "forget", "export", "export npy", "export json", "export faiss", "duplicates", "map", "recommend",
        "gc",
    }  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_is_documented_with_an_example(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help, "says what it does"
    assert "Example: " in (command.epilog or ""), "shows how it is typed"
    assert f"embeddings {' '.join(path)}".strip() in command.epilog


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_and_argument_is_documented(path: tuple[str, ...]) -> None:
    undocumented = [parameter.name for parameter in ALL[path].params if not getattr(parameter, "help", None)]
    assert undocumented == []


def test_help_is_printed_for_every_command() -> None:
    done = run("index", "rollback", "--help")
    assert done.returncode == 0
    assert "Example: embeddings index rollback" in done.stdout
    assert "\x1b[" not in done.stdout, "plain when piped"


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"embeddings {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("serch", "dog"), ("run", "--sorce", "a"), ("search",), ("index", "rollback", "x")]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Usage: embeddings" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["init"], ["failures"], ["status"]], ids=" ".join)
def test_help_and_look_ups_load_neither_models_nor_indexes(arguments: list[str], tmp_path: Any) -> None:
    """A command that is typed often must answer at once; torch alone takes seconds to import."""
    if arguments[0] in ("failures", "status"):
        assert run("init", cwd=tmp_path).returncode == 0
    code = (
        f"import sys; from embeddings_dagster.cli import main\ntry: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    allowed = ["dagster"] if arguments == ["init"] else []  # init sets a pool limit in Dagster's storage
    loaded = done.stdout.rpartition("LOADED ")[2].strip()
    assert loaded in {"[]", str(allowed)}, done.stderr


def test_the_command_is_installed_under_both_names() -> None:
    assert COMMAND.exists()
    assert COMMAND.with_name("embeddings-dagster").exists()

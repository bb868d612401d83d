"""Every command in the README does what it says there, in the order it stands there."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from embeddings_dagster.settings import load_settings
from embeddings_dagster_tests.cli.command import environment

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
SAMPLE = ROOT / "data" / "sample" / "emoji"
SETUP = "export DAGSTER_HOME="  # done here by the environment of every command


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """The commands of all shell blocks, then those in running text, each once, without their comments."""
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks("sh") for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    inline = [
        each for each in re.findall(r"`([^`]+)`", prose) if each.split()[0] in ("embeddings", "make") and " " in each
    ]
    return [line for line in dict.fromkeys((*lines, *inline)) if line and not line.startswith(SETUP)]


def test_make_knows_the_targets_the_readme_names() -> None:
    targets = {command.split()[1] for command in commands() if command.startswith("make ")}
    assert targets == {"demo", "test", "ui"}
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_settings_it_shows_are_settings(tmp_path: Path) -> None:
    models, sources = blocks("yaml")
    (tmp_path / "embeddings.yaml").write_text(models + sources)
    settings = load_settings(tmp_path / "embeddings.yaml")
    assert list(settings.models) == list(yaml.safe_load(models)["models"])
    assert list(settings.sources) == list(yaml.safe_load(sources)["sources"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's home: pictures, a picture to ask with, and the checkout's workspace.yaml and project files."""
    home = tmp_path_factory.mktemp("home")
    (home / "Pictures").mkdir()
    for name in ("symbols/red-heart.png", "food/pizza.png", "animals/dog-face.png"):
        shutil.copy(SAMPLE / name, home / "Pictures")
    (home / "Pictures" / "cats").mkdir()
    shutil.copy(SAMPLE / "animals" / "cat-face.png", home / "Pictures" / "cats" / "tom.png")
    shutil.copy(SAMPLE / "animals" / "cat.png", home / "Pictures" / "cats" / "tim.png")
    shutil.copy(SAMPLE / "food" / "pizza.png", home / "query.jpg")
    for name in ("workspace.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, home)
    (home / "embeddings_dagster").symlink_to(ROOT / "embeddings_dagster")
    return home


def run(command: str, home: Path) -> str:
    over = {"HOME": str(home), "DAGSTER_HOME": str(home / ".dagster"), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=home, env=environment(**over), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_command_runs(home: Path) -> None:
    for command in commands():
        if command.startswith("make "):
            continue
        if command.startswith("embeddings index rollback"):
            shutil.copy(SAMPLE / "food" / "banana.png", home / "Pictures")
            run("embeddings run", home)  # a second generation, to go back from
        said = run(command.replace("explain ID", "explain pictures:pizza.png"), home)
        if command.startswith(("embeddings search", "embeddings recommend")):
            assert "pictures:" in said
    with dg.DagsterInstance.from_config(str(home / ".dagster")) as instance:
        jobs = [run.job_name for run in instance.get_runs()]
        assert "embed_batches" in jobs, "what the command did is in the history"
        deadline = time.monotonic() + 120
        while any(not each.is_finished and each.status != dg.DagsterRunStatus.QUEUED for each in instance.get_runs()):
            assert time.monotonic() < deadline, "a run that the shell launched does not end"
            time.sleep(1)

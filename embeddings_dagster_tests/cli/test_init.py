"""`init`: a project that works as it is, and nothing of anybody else's touched."""

from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.cli import project
from embeddings_dagster.defs import home
from embeddings_dagster.settings import load_settings
from embeddings_dagster_tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_writes_settings_and_folders_and_says_what_comes_next(tmp_path: Path, command: Command) -> None:
    said = command("init")
    assert said.code == 0
    settings = load_settings(tmp_path / "embeddings.yaml")
    assert settings.check_folders() == []
    assert Path(settings.data_root).is_dir()
    assert (tmp_path / ".dagster" / "dagster.yaml").is_file()
    assert f"export DAGSTER_HOME={tmp_path / '.dagster'}" in said.out
    assert "pictures" in said.out


def test_the_gpu_pool_has_its_limit(tmp_path: Path, command: Command) -> None:
    command("init")
    with dg.DagsterInstance.from_config(str(tmp_path / ".dagster")) as instance:
        limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits["gpu"] >= 1


def test_the_home_is_the_one_that_dagster_is_told() -> None:
    assert (project.HOME_VARIABLE, project.HOME_NAME) == (home.HOME_VARIABLE, home.HOME_NAME)


def test_folders_of_pictures_become_sources(tmp_path: Path, command: Command) -> None:
    for name in ("My Art", "b/My Art"):
        (tmp_path / name).mkdir(parents=True)
    assert command("init", "--source", "My Art", "--source", "b/My Art").code == 0
    settings = load_settings(tmp_path / "embeddings.yaml")
    assert {name: source.path for name, source in settings.sources.items()} == {
        "my-art": Path("My Art"),
        "my-art-2": Path("b/My Art"),
    }
    assert not (tmp_path / "pictures").exists()


def test_a_missing_folder_is_refused_and_nothing_is_written(tmp_path: Path, command: Command) -> None:
    said = command("init", "--source", "nowhere")
    assert said.code == 1
    assert said.err == "error: --source nowhere: no such folder; create it, or correct the path\n"
    assert list(tmp_path.iterdir()) == []


def test_settings_that_are_there_are_kept_unless_forced(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "embeddings.yaml"
    file.write_text("data: mine\n")
    said = command("init")
    assert said.code == 1
    assert "--force" in said.err
    assert file.read_text() == "data: mine\n"
    assert command("init", "--force").code == 0
    assert "data: data\n" in file.read_text()


def test_another_projects_dagster_home_is_left_alone(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other"))
    assert command("init", "new").code == 0
    assert not (tmp_path / "other").exists()
    assert (tmp_path / "new" / ".dagster" / "dagster.yaml").is_file()

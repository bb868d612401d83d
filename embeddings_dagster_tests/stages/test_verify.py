"""Verification covers all that is committed: each kind of file, damaged or gone, is named with its remedy."""

import random
from pathlib import Path

import pytest

from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.line.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.make(tmp_path_factory.mktemp("verify"), 6)
    made.run()
    return made


def committed(project: Project) -> list[Path]:
    data = project.root / "data"
    return sorted(each for each in data.rglob("*") if each.is_file() and "cache" not in each.relative_to(data).parts)


def test_what_was_committed_is_sound(project: Project) -> None:
    assert verify(project.store) == []
    kinds = {each.relative_to(project.root / "data").parts[0] for each in committed(project)}
    assert kinds == {"sources", "raw_images", "rgb_images", "embeddings", "indexes", "models", "catalog"}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_every_file_that_is_damaged_is_named(project: Project, damage: str) -> None:
    for path in committed(project):
        if damage == "gone" and path.suffix == ".json":
            continue  # a chain's very last version leaves no trace in the store itself
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "truncated":
            path.write_bytes(data[: len(data) // 2])
        else:
            at = random.Random(path.name).randrange(len(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            problems = verify(project.store)
            name = path.relative_to(project.root / "data").as_posix()
            assert name in {problem.file for problem in problems}, f"{name} {damage}"
            assert all(problem.reason and problem.remedy for problem in problems)
        finally:
            path.write_bytes(data)
    assert verify(project.store) == []

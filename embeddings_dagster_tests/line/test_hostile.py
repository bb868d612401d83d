"""A pile with 340 hostile files in it: each ends as the picture it is or as a failure that says why, and no other
picture notices."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest

from embeddings_dagster import ids
from embeddings_dagster.images.worker_process import MODULE
from embeddings_dagster.sources.folder import FolderSource
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Failure
from embeddings_dagster_tests.cli.command import run
from embeddings_dagster_tests.line.project import Project, latest

from make_hostile import FOLDER, KINDS, SPECIAL, make_hostile  # isort: skip - project puts tools on the path

GOOD = 40
SECONDS = 4  # for one picture: what the time bomb costs here


class Pile(Project):
    """A project whose pile has the hostile files below `hostile`."""

    manifest: dict[str, dict]
    done: subprocess.CompletedProcess[str]

    def spoil(self, made: Path) -> None:
        manifest = make_hostile(made)
        (made / FOLDER).rename(self.pictures / "hostile")
        self.manifest = {self.image_id(file): entry for file, entry in manifest.items()}
        with (self.root / "embeddings.yaml").open("a") as settings:
            settings.write(f"rgb:\n  max_seconds: {SECONDS}\n")

    @staticmethod
    def image_id(file: str) -> str:
        return ids.image_id("art", ids.escape_local_id(f"hostile/{file}"), 0)

    def expected(self, *expectations: str) -> set[str]:
        return {each for each, entry in self.manifest.items() if entry["expect"] in expectations}

    def failures(self) -> dict[str, Failure]:
        found = [each for name in ("raw_images", "rgb_images") for each in self._failures(name)]
        assert len({each.image_id for each in found}) == len(found), "no picture fails twice"
        return {each.image_id: each for each in found}

    def _failures(self, dataset: str) -> list[Failure]:
        chain = self.chain(dataset)
        return list(chain.failures(latest(chain)))


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Pile:
    made = Pile.make(tmp_path_factory.mktemp("hostile"), GOOD)
    made.spoil(tmp_path_factory.mktemp("made"))
    made.done = run("run", "--json", cwd=made.root, timeout=300)
    return made


def test_the_set_is_large_and_of_many_kinds(pile: Pile) -> None:
    assert len(pile.manifest) >= 300
    assert {entry["kind"] for entry in pile.manifest.values()} == {*KINDS, *SPECIAL}
    assert len(KINDS) >= 20


def test_the_same_seed_gives_the_same_bytes(pile: Pile, tmp_path: Path) -> None:
    again = make_hostile(tmp_path)
    assert {pile.image_id(file): entry for file, entry in again.items()} == pile.manifest
    size = 0
    for file, entry in again.items():
        if entry["expect"] != "ignored" and entry["kind"] != "unreadable":
            data = (tmp_path / FOLDER / file).read_bytes()
            assert data == (pile.pictures / "hostile" / file).read_bytes(), file
            size += len(data)
    assert size < 20 * 2**20


def test_the_run_succeeds_and_says_nothing_but_how_it_went(pile: Pile) -> None:
    assert pile.done.returncode == 0, pile.done.stdout + pile.done.stderr
    progress = re.compile(r"source art: [\d,]+ new|\w+( art__\d+)?: [\d,]+ of [\d,]+")
    others = [line for line in pile.done.stderr.splitlines() if not progress.fullmatch(line)]
    assert others == [], "no warning, no traceback, no word of a decoder"
    assert not [each for each in psutil.process_iter(["cmdline"]) if _is_its_worker(each, pile.root)]


def _is_its_worker(process: psutil.Process, root: Path) -> bool:
    try:
        return MODULE in " ".join(process.info["cmdline"] or ()) and process.cwd() == str(root)
    except psutil.Error:
        return False


def test_every_file_is_accounted_for_by_name(pile: Pile) -> None:
    (source,) = json.loads(pile.done.stdout)["sources"]
    listed = pile.expected("good", "failure", "either")
    assert source["total"] == source["processed"] + source["failed"] == len(listed) + GOOD
    rows, failures = pile.vectors().keys(), pile.failures().keys()
    assert not rows & failures
    assert {each for each in rows | failures if each.startswith("art:hostile/")} == listed
    assert len(failures) == source["failed"]
    scan = FolderSource("art", pile.pictures).scan()
    assert sum(scan.ignored.values()) == len(pile.expected("ignored"))
    assert scan.problems == ()


def test_each_became_what_its_kind_becomes(pile: Pile) -> None:
    rows, failures = pile.vectors(), pile.failures()
    wrong = [
        (image_id, entry["expect"], failures.get(image_id))
        for image_id, entry in pile.manifest.items()
        if (entry["expect"] == "good" and image_id not in rows)
        or (entry["expect"] == "failure" and image_id not in failures)
        or (image_id in failures and failures[image_id].error_class not in entry["errors"])
    ]
    assert wrong == []


def test_every_failure_says_what_it_is_and_what_to_do(pile: Pile) -> None:
    for failure in pile.failures().values():
        assert failure.message.isprintable()
        assert ";" in failure.message or failure.error_class == "FormatNotAllowed", failure.message
        assert failure.retryable is (failure.error_class == "ReadFailed"), "the same bytes would fail the same way"


def test_the_vectors_of_the_good_are_those_of_a_run_without_the_bad(pile: Pile, tmp_path: Path) -> None:
    plain = Project.make(tmp_path / "plain", GOOD)
    plain.run()
    expected, found = plain.vectors(), pile.vectors()
    assert len(expected) == GOOD
    assert max(float(np.abs(found[each] - expected[each]).max()) for each in expected) <= 1e-6


def test_every_vector_is_of_unit_length_and_the_store_is_whole(pile: Pile) -> None:
    norms = np.linalg.norm(np.stack(list(pile.vectors().values())), axis=1)
    assert np.abs(norms - 1).max() < 1e-5
    assert verify(pile.store) == []


def test_a_second_run_tries_nothing_again(pile: Pile) -> None:
    if any(failure.retryable for failure in pile.failures().values()):
        pytest.skip("unreadable files are tried again")
    done = run("run", cwd=pile.root, timeout=100)
    assert done.returncode == 0
    assert "nothing changed" in done.stdout

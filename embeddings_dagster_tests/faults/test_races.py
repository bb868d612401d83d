"""Two commands on one project at once, and readers all the while: each ends well, the state is right, the work is done
once, and nobody sees a half."""

import json
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embeddings_dagster.search import IdQuery, SearchService, Term
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.command import COMMAND, environment, run
from embeddings_dagster_tests.cli.conftest import PICTURES, SAMPLE
from embeddings_dagster_tests.faults.commands import begun
from embeddings_dagster_tests.faults.projects import artwork, emojis, rows_of, store_of


def all_to_their_end(root: Path, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
    """Several commands at the same time."""
    done = []
    with begun(*commands[0], cwd=root) as first:
        others = [subprocess.CompletedProcess(each, 0) for each in commands[1:]]
        results: dict[int, subprocess.CompletedProcess[str]] = {}
        threads = [
            threading.Thread(target=lambda n=number, c=other.args: results.update({n: run(*c, cwd=root)}))
            for number, other in enumerate(others)
        ]
        for thread in threads:
            thread.start()
        out, err = first.communicate(timeout=300)
        for thread in threads:
            thread.join(300)
        done.append(subprocess.CompletedProcess(commands[0], first.returncode, out, err))
        done += [results[number] for number in range(len(others))]
    return done


@contextmanager
def readers(root: Path, searched: str | None) -> Iterator[Counter[str]]:
    """Readers in a loop: every version they see must be whole. Counts what was read; an error in one is raised."""
    settings = load_settings(root / "embeddings.yaml")
    over, seen, wrong = threading.Event(), Counter[str](), list[Exception]()

    def read() -> None:
        store = Store.open(settings.data_root, settings.cache_root)
        while not over.is_set():
            for rows in rows_of(store).values():
                assert len(rows) >= len(PICTURES)
            seen["rows"] += 1

    def search() -> None:
        assert searched is not None
        service = SearchService(settings, Store.open(settings.data_root, settings.cache_root))
        while not over.is_set():
            found = service.search(terms=[Term(IdQuery(searched), 1.0)], k=50)
            ids = [hit.image_id for hit in found.hits]
            assert len(set(ids)) == len(ids) >= len(PICTURES) - 1, ids
            seen["searches"] += 1

    def kept(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=kept, args=(work,)) for work in ([read, search] if searched else [read])]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    if wrong:
        raise wrong[0]


def assert_made_once(store: Store) -> None:
    """No row was made by two runs: what one had committed, the other took as it was."""
    for dataset in store.datasets():
        for batch in store.batches(dataset):
            chain = store.chain(dataset, batch)
            made: dict[tuple[str, str], set[str]] = {}
            parts = {part.file: part for number in chain.versions.numbers() for part in chain.get(number).parts}
            for part in parts.values():
                with chain.part(part.file, part.sha256) as opened:
                    for row in opened.read(("image_id", "input_hash", "run_id")).to_pylist():
                        made.setdefault((row["image_id"], row["input_hash"]), set()).add(row["run_id"])
            assert [row for row, runs in made.items() if len(runs) > 1] == [], (dataset, batch)


def test_two_runs_on_one_batch_do_its_work_once(tmp_path: Path) -> None:
    root = artwork(tmp_path / "project", 12)
    first, second = all_to_their_end(root, ("run", "--json"), ("run", "--json"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    totals = [[each["total"] for each in json.loads(done.stdout)["sources"]] for done in (first, second)]
    assert totals == [[12, 2], [12, 2]]
    store = store_of(root)
    assert {name: len(rows) for name, rows in rows_of(store).items()} == {"raw_images": 14, "rgb_images": 14}
    assert_made_once(store)
    assert verify(store) == []
    nothing = run("run", cwd=root)
    assert "nothing changed" in nothing.stdout, nothing.stdout + nothing.stderr


@pytest.mark.torture
def test_everything_at_once_and_readers_all_the_while(tmp_path: Path) -> None:
    """Runs, compaction and exports, while pictures come and go."""
    root = emojis(tmp_path / "project")
    assert run("run", cwd=root).returncode == 0
    names = [each.name for each in sorted((SAMPLE / "food").glob("*.png"))][:12]
    with readers(root, "art:dog.png") as seen:
        for number, name in enumerate(names):
            shutil.copy2(SAMPLE / "food" / name, root / "pics" / f"more {number}.png")
            if number % 3 == 2:
                (root / "pics" / f"more {number - 2}.png").unlink()
            done = all_to_their_end(
                root, ("run",), ("run",), ("index", "compact"), ("export", "npy", "--out", "out"), ("status",)
            )
            for each in done:
                assert each.returncode == 0, (each.args, each.stdout, each.stderr)
                assert "Traceback" not in each.stderr
    assert seen["rows"] > len(names)
    assert seen["searches"] > len(names)
    store = store_of(root)
    assert verify(store) == []
    assert_made_once(store)
    assert run("forget", "art", "--yes", cwd=root).returncode in (0, 1)


@pytest.mark.torture
def test_a_run_of_the_command_and_one_of_dagster_on_the_same_batch(tmp_path: Path) -> None:
    root = emojis(tmp_path / "project")
    assert run("run", cwd=root).returncode == 0
    for number in range(3):
        shutil.copy2(SAMPLE / "food" / "banana.png", root / "pics" / f"new {number}.png")
        materialise = subprocess.Popen(
            [COMMAND.with_name("dagster"), "asset", "materialize", "-m", "embeddings_dagster.definitions",
             "--select", "raw_images,rgb_images,dino_embeddings", "--partition", "art__000001"],
            cwd=root, env=environment(DAGSTER_HOME=str(root / ".dagster"), EMBEDDINGS_SETTINGS="embeddings.yaml"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        done = run("run", cwd=root)
        _, said = materialise.communicate(timeout=300)
        assert (done.returncode, materialise.returncode) == (0, 0), done.stderr + said
    assert run("run", cwd=root).returncode == 0
    store = store_of(root)
    rows = rows_of(store)
    assert {name: len(each) for name, each in rows.items()} == dict.fromkeys(rows, len(PICTURES) + 3)
    assert_made_once(store)
    assert verify(store) == []

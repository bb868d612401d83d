"""The whole line on a bucket: killed and gone on with, read from a second machine, and no secret left anywhere."""

import itertools
import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.cli.command import COMMAND, environment, run
from embeddings_dagster_tests.line.project import SETTINGS, Project
from embeddings_dagster_tests.line.test_kills import (
    assert_no_slot_is_held,
    assert_nothing_committed_was_made_twice,
    index_ids,
)
from embeddings_dagster_tests.object_storage import BUCKET, KEY, SECRET, ObjectStorage

PICTURES = 24


def machine(folder: Path, root: str, pictures: Path | None = None) -> Project:
    """A project with a cache and a Dagster home of its own, on the store at `root`; with those pictures, if given."""
    project = Project.make(folder, 1 if pictures else PICTURES)
    if pictures:
        shutil.rmtree(project.pictures)
        shutil.copytree(pictures, project.pictures)
    (folder / "embeddings.yaml").write_text(f"data: {root}\ncache: cache\n{SETTINGS}")
    return project


def ids_of(answer: str) -> list[str]:
    return [hit["image_id"] for hit in json.loads(answer)["hits"]]


def assert_no_secret(folder: Path, root: str, *outputs: str) -> None:
    """Neither in what commands said, nor in any file of this machine, nor in any object."""
    import s3fs

    client = s3fs.S3FileSystem(use_listings_cache=False)
    looked_at = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    looked_at |= {path: client.cat_file(path) for path in client.find(root)}
    looked_at |= {f"output {number}": output.encode() for number, output in enumerate(outputs)}
    assert len(looked_at) > 30
    found = [name for name, data in looked_at.items() if SECRET.encode() in data or KEY.encode() in data]
    assert found == []


def test_a_run_is_killed_and_gone_on_with_and_a_second_machine_searches(s3: ObjectStorage, tmp_path: Path) -> None:
    root = s3.new_root()
    one = machine(tmp_path / "one", root)
    killed = run("run", cwd=one.root, timeout=300, EMBEDDINGS_KILL_AT="part:written:3")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert verify(one.store) == []
    assert one.store.datasets() == ["raw_images", "rgb_images"]

    done = run("run", cwd=one.root, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(one.vectors()) == PICTURES
    for dataset in ("raw_images", "rgb_images", "embeddings"):
        assert_nothing_committed_was_made_twice(one, dataset)
    assert verify(one.store) == []
    assert_no_slot_is_held(one)

    two = machine(tmp_path / "two", root, one.pictures)
    assert set(index_ids(two)) == one.vectors().keys()
    assert {path.name for path in (two.root / "cache/fetched").iterdir()} == {"indexes"}
    shutil.rmtree(two.root / "cache")
    assert set(index_ids(two)) == one.vectors().keys()
    assert_no_secret(tmp_path, root, *(each.stdout + each.stderr for each in (killed, done)))


COMMANDS = (
    ("status",), ("status", "--json"), ("plan", "--json"), ("verify",), ("doctor",), ("failures",),
    ("explain", "art:0003.png"), ("files", "clip_embeddings"), ("files", "clip_index"), ("files", "search_catalog"),
    ("recommend", "art:0003.png"), ("search", "--image", "pictures/0003.png"), ("index", "list"), ("index", "compact"),
    ("model", "list"), ("duplicates", "--refresh"), ("duplicates",), ("map",),
    *(("export", format, "--out", f"out-{format}") for format in ("npy", "json", "faiss")),
)  # fmt: skip


@pytest.mark.torture
def test_every_command_works_on_a_bucket_and_says_no_secret(s3: ObjectStorage, tmp_path: Path) -> None:
    root = s3.new_root()
    one = machine(tmp_path / "one", root)
    one.run()
    said = [run(*command, cwd=one.root, timeout=300) for command in COMMANDS]
    assert [command for command, each in zip(COMMANDS, said, strict=True) if each.returncode] == []
    (one.root / "pictures/0003.png").unlink()
    one.run()
    shutil.rmtree(one.root / "cache")
    one.run()
    assert len(one.vectors()) == PICTURES - 1

    here = run("export", "npy", cwd=one.root)
    assert here.returncode == 1
    assert "say where the export is to go with --out" in here.stderr
    (one.root / "embeddings.yaml").write_text(f"data: {root}\ncache: cache\n" + SETTINGS.partition("models:")[2].join(
        ("sources: {}\nmodels:", "")
    ))  # fmt: skip
    gone = run("forget", "art", "--yes", cwd=one.root, timeout=300)
    assert gone.returncode == 0, gone.stderr
    assert one.store.datasets() == one.store.sources() == []
    left = [path for path in (one.root / "cache/fetched").rglob("*.parquet") if "sources" in path.parts]
    assert left == []
    assert verify(one.store) == []
    assert_no_secret(tmp_path, root, *(each.stdout + each.stderr for each in (*said, here, gone)))


@pytest.mark.torture
def test_two_machines_that_run_at_once_lose_nothing(s3: ObjectStorage, tmp_path: Path) -> None:
    """Their locks do not know of each other: commits alone keep them apart."""
    root = s3.new_root()
    one = machine(tmp_path / "one", root)
    two = machine(tmp_path / "two", root, one.pictures)
    runs = [
        subprocess.Popen([COMMAND, "run"], cwd=each.root, env=environment(), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for each in (one, two)
    ]  # fmt: skip
    outputs = [each.communicate(timeout=600)[0] for each in runs]
    print([each.returncode for each in runs], *outputs, sep="\n")
    assert verify(one.store) == []
    for each in (one, two):  # whoever was told that the other was first goes on from what is there
        each.run()
    assert len(one.vectors()) == PICTURES
    assert verify(one.store) == []
    found = [run("search", "red heart", "--json", cwd=each.root, timeout=300).stdout for each in (one, two)]
    assert ids_of(found[0]) == ids_of(found[1])


@pytest.mark.torture
def test_one_machine_adds_while_another_searches(s3: ObjectStorage, tmp_path: Path) -> None:
    root = s3.new_root()
    one = machine(tmp_path / "one", root)
    one.run()
    two = machine(tmp_path / "two", root, one.pictures)
    from render_artwork import render_artwork

    render_artwork(one.pictures, 2 * PICTURES)
    with subprocess.Popen([COMMAND, "run"], cwd=one.root, env=environment(), stdout=subprocess.DEVNULL) as adding:
        totals = []
        while adding.poll() is None or not totals:
            answer = run("search", "red heart", "--json", "-k", "100", cwd=two.root, timeout=300)
            assert answer.returncode == 0, answer.stderr
            totals.append(len(ids_of(answer.stdout)))
    assert adding.returncode == 0
    answer = run("search", "red heart", "--json", "-k", "100", cwd=two.root, timeout=300)
    assert [*totals, len(ids_of(answer.stdout))] == sorted([*totals, 2 * PICTURES])
    assert set(totals) <= {PICTURES, 2 * PICTURES}
    shutil.rmtree(two.root / "cache")  # a reader's cache is lost
    again = run("search", "red heart", "--json", "-k", "100", cwd=two.root, timeout=300)
    assert ids_of(again.stdout) == ids_of(answer.stdout)


@pytest.mark.torture
def test_damage_in_a_bucket_is_found_and_repaired(s3: ObjectStorage, tmp_path: Path) -> None:
    import s3fs

    root = s3.new_root()
    one = machine(tmp_path / "one", root)
    one.run()
    before = one.vectors()
    client = s3fs.S3FileSystem(use_listings_cache=False)
    objects = [path.partition("/")[2] for path in client.find(root)]
    batch = [
        next(path for path in objects if path.partition("/")[2].startswith(f"{dataset}/") and "/manifests/" not in path)
        for dataset in ("sources", "raw_images", "rgb_images", "embeddings", "catalog")
    ]
    segment = next(path for path in objects if path.endswith("vectors.npy"))
    manifest = max(path for path in objects if "/embeddings/" in path and "/manifests/" in path)
    for damaged in (batch, [segment, manifest]):
        for path in damaged:
            data = bytearray(client.cat_file(f"{BUCKET}/{path}"))
            data[len(data) // 2] ^= 8
            client.pipe_file(f"{BUCKET}/{path}", bytes(data))
        said = run("verify", "--json", cwd=one.root, timeout=300)
        assert said.returncode == 1, said.stderr
        assert {each["file"] for each in json.loads(said.stdout)} >= {path.partition("/")[2] for path in damaged}
        told = run("verify", "--repair", "--json", cwd=one.root, timeout=300)
        assert told.returncode == 0, told.stdout + told.stderr
        assert json.loads(told.stdout)["left"] == json.loads(told.stdout)["refused"] == []
        print(told.stdout, told.stderr)
        after = one.vectors()
        assert after.keys() == before.keys()
        assert all((after[key] == before[key]).all() for key in before)
        assert set(index_ids(one)) == before.keys()
    assert verify(one.store) == []


@pytest.mark.torture
@pytest.mark.parametrize("requests", [30, 60, 90, 120, 150])
@pytest.mark.parametrize("code", ["403 AccessDenied", "500 InternalError"])
def test_storage_that_goes_in_the_middle_of_a_run_costs_nothing_that_was_committed(
    s3: ObjectStorage, tmp_path: Path, requests: int, code: str
) -> None:
    root = s3.new_root()
    one = machine(tmp_path / "one", root)
    left = itertools.count(requests, -1)
    with s3.failing(lambda request, environ: code if next(left) <= 0 else None):
        said = run("run", cwd=one.root, timeout=600)
    assert next(left) < 0, "the run asked for less than that"
    assert said.returncode not in (0, -9), said.stdout
    assert code.split()[1] in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    assert verify(one.store) == []
    one.run()
    assert len(one.vectors()) == PICTURES
    assert set(index_ids(one)) == one.vectors().keys()
    for dataset in ("raw_images", "rgb_images", "embeddings"):
        assert_nothing_committed_was_made_twice(one, dataset)
    assert_no_slot_is_held(one)
    assert verify(one.store) == []

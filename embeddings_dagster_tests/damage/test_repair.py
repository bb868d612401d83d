"""`verify --repair` makes anew exactly what is damaged: all else keeps its bytes, vectors are those of before, a search
answers the same, and afterwards nothing is left to complain of. A real project, real runs through Dagster.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embeddings_dagster_tests.cli.command import COMMAND, environment
from embeddings_dagster_tests.damage.patient import FIRST, SECOND, Patient, paint, typed

KILLS = ("ledger:written", "manifest:created", "manifest:created:2", "segment:written")
FULL = pytest.mark.torture  # what is like a case beside it, and costs three seconds


def full(*cases: str) -> list[Any]:
    """Cases for the full size."""
    return [pytest.param(case, marks=FULL) for case in cases]


def spoil(*paths: Path) -> None:
    for path in paths:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 8
        path.write_bytes(data)


@pytest.mark.parametrize("dataset", ["embeddings", *full("raw_images", "rgb_images")])
def test_a_damaged_part_costs_its_own_rows_and_no_others(patient: Patient, dataset: str) -> None:
    place = patient.embeddings() if dataset == "embeddings" else dataset
    before = patient.newest(place, FIRST)
    damaged, whole = patient.part(place, FIRST, 0), patient.part(place, FIRST, 1)
    rows = pq.ParquetFile(whole).read(["image_id", "run_id"]).to_pylist()
    spoil(damaged)
    patient.require_healed(damaged)
    after = patient.newest(place, FIRST)
    assert set(after.parts) - set(before.parts) != set()
    assert before.parts[1] in after.parts, "the part that was whole is named as before"
    now = {row["image_id"]: row["run_id"] for row in patient.store.chain(place, FIRST).rows(after).to_pylist()}
    assert all(now[row["image_id"]] == row["run_id"] for row in rows)
    assert patient.newest(place, SECOND).run_id != after.run_id


def test_several_injuries_at_once_and_a_lost_file_are_healed_in_one_go(patient: Patient) -> None:
    damaged = [
        patient.part("raw_images", FIRST, 1),
        patient.part("rgb_images", SECOND, 0),
        patient.part(patient.embeddings(), SECOND, 0),
        patient.data / "catalog" / "files" / sorted(os.listdir(patient.data / "catalog" / "files"))[-1],
    ]
    spoil(*damaged)
    lost = patient.part("rgb_images", FIRST, 0)
    lost.unlink()
    patient.require_healed(*damaged, lost)


@pytest.mark.parametrize(
    ("injury", "dataset"),
    [
        ("newest", "raw_images"),
        *(
            pytest.param(injury, dataset, marks=FULL)
            for injury in ("newest", "old", "middle gone", "copied over")
            for dataset in ("raw_images", "rgb_images", "embeddings")
            if (injury, dataset) != ("newest", "raw_images")
        ),
    ],
)
def test_a_damaged_manifest_is_healed(patient: Patient, dataset: str, injury: str) -> None:
    folder = f"{patient.embeddings() if dataset == 'embeddings' else dataset}/{FIRST}"
    newest, old = patient.manifest(folder), patient.manifest(folder, back=1)
    if injury == "newest":
        spoil(newest)
    elif injury == "old":
        spoil(old)
    elif injury == "middle gone":
        old.rename(newest.with_name("00000007.json"))
    else:
        shutil.copyfile(old, newest)
    patient.require_healed(newest, old)


@FULL
@pytest.mark.parametrize("back", [0, 1])
def test_a_damaged_index_is_made_anew_from_the_embeddings(patient: Patient, back: int) -> None:
    (folder,) = (patient.data / "indexes" / "clip").iterdir()
    manifest = patient.manifest(folder.relative_to(patient.data).as_posix(), back)
    spoil(manifest)
    patient.require_healed(manifest)


@pytest.mark.parametrize("name", ["vectors.npy", *full("index.faiss", "rows.parquet")])
def test_a_damaged_segment_is_made_anew_and_the_others_stay(patient: Patient, name: str) -> None:
    files = sorted((patient.data / "indexes").rglob(name))
    assert len(files) == 2
    spoil(files[0])
    patient.require_healed(files[0])
    assert files[1].exists()
    newest = max((patient.data / "indexes" / "clip").glob("*/manifests/*"))
    assert files[1].parent.name in newest.read_text()
    assert files[0].parent.name not in newest.read_text()


@FULL
def test_a_damaged_list_of_dead_rows_is_healed(patient: Patient) -> None:
    (deletions,) = (patient.data / "indexes").rglob("deletions/*.npy")
    spoil(deletions)
    patient.require_healed(deletions)


@FULL
@pytest.mark.parametrize("what", ["manifest", "old manifest", "file", "gone"])
def test_a_damaged_catalogue_is_made_anew(patient: Patient, what: str) -> None:
    manifest = patient.manifest("catalog", back=int(what == "old manifest"))
    file = patient.data / "catalog" / json.loads(patient.manifest("catalog").read_text())["file"]
    if what == "gone":
        file.unlink()
    else:
        spoil(file if what == "file" else manifest)
    patient.require_healed(manifest, file)


@FULL
@pytest.mark.parametrize("what", ["near_duplicates", "embedding_map"])
@pytest.mark.parametrize("which", ["manifests/*", "parts/*"])
def test_a_damaged_analysis_is_made_anew(patient: Patient, what: str, which: str) -> None:
    paths = [path for path in (patient.data / "analysis" / what).rglob("*") if path.match(which)]
    assert paths
    spoil(*paths)
    patient.require_healed(*paths)


def test_a_registry_that_is_lost_is_written_anew_for_the_settings_models(patient: Patient) -> None:
    manifest = patient.manifest("models/clip")
    spoil(manifest)
    patient.require_healed(manifest)
    manifest = patient.manifest("models/clip")
    manifest.unlink()
    assert [each["file"] for each in patient.repair()["problems"]] == ["models/clip/manifests/00000001.json"]
    assert patient.state() == patient.before


def ledger_part(patient: Patient, batch: str) -> Path:
    ledger = patient.store.ledger("art")
    manifest = ledger.latest()
    assert manifest is not None
    return patient.data / ledger.path(manifest.batches[batch].file)


def test_a_ledgers_part_is_made_anew_row_by_row_as_it_was(patient: Patient) -> None:
    rows = pq.read_table(ledger_part(patient, FIRST)).to_pylist()
    damaged = ledger_part(patient, FIRST)
    spoil(damaged)
    patient.require_healed(damaged)
    assert pq.read_table(ledger_part(patient, FIRST)).drop(["first_seen"]).to_pylist() == [
        {name: value for name, value in row.items() if name != "first_seen"} for row in rows
    ]


@pytest.mark.parametrize("injury", ["all lost", *full("damaged", "lost", "older damaged")])
def test_a_ledger_keeps_its_batches_whatever_becomes_of_its_manifests(patient: Patient, injury: str) -> None:
    newest, first = patient.manifest("sources/art"), patient.manifest("sources/art", back=1)
    if injury == "damaged":
        spoil(newest)
    elif injury == "older damaged":
        spoil(first)
    elif injury == "lost":
        newest.unlink()
    else:
        shutil.rmtree(newest.parent)
    patient.require_healed(newest, first)
    assert patient.command("run").code == 0
    assert patient.state() == patient.before


@FULL
def test_pictures_that_changed_since_are_not_taken_in_by_a_repair_and_are_by_the_next_run(patient: Patient) -> None:
    paint(patient.root, 3, 20, seed=500)
    damaged = patient.part(patient.embeddings(), FIRST, 0)
    spoil(damaged)
    patient.require_healed(damaged)
    typed("run")
    assert patient.state() != patient.before


@pytest.mark.parametrize("dataset", ["rgb_images", pytest.param("raw_images", marks=FULL)])
def test_a_repair_that_would_lose_what_was_made_is_refused_until_it_would_not(patient: Patient, dataset: str) -> None:
    (patient.root / "pictures").rename(patient.root / "unmounted")
    damaged = patient.part(dataset, FIRST, 0)
    spoil(damaged)
    told = patient.repair(code=1)
    assert FIRST in told["refused"][0]
    assert [each["file"] for each in told["left"]] == [damaged.relative_to(patient.data).as_posix()]  # type: ignore[index]
    assert patient.newest(patient.embeddings(), FIRST).content == patient.before[f"{patient.embeddings()}/{FIRST}"]
    (patient.root / "unmounted").rename(patient.root / "pictures")
    patient.require_healed(damaged)


@pytest.mark.parametrize("step", ["part:written", *full(*KILLS)])
def test_a_repair_that_was_killed_is_repeated(patient: Patient, step: str) -> None:
    (index,) = (patient.data / "indexes" / "clip").iterdir()
    damaged = [
        ledger_part(patient, SECOND),
        patient.part("raw_images", FIRST, 0),
        patient.manifest(f"{patient.embeddings()}/{SECOND}"),
        max(index.glob("segments/*/vectors.npy")),
    ]
    spoil(*damaged)
    killed = subprocess.run(
        [COMMAND, "verify", "--repair"],
        cwd=patient.root,
        env=environment(EMBEDDINGS_KILL_AT=step),
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stdout + killed.stderr
    patient.require_healed(*damaged)


def test_what_cannot_be_repaired_is_said_with_what_to_do(patient: Patient) -> None:
    """An export, which only its owner can ask for again."""
    assert patient.command("export", "npy").code == 0
    (vectors,) = (patient.data / "exports").rglob("*.npy")
    spoil(vectors)
    told = patient.repair(code=1)
    assert [(each["file"], each["remedy"]) for each in told["left"]] == [  # type: ignore[index]
        (
            vectors.relative_to(patient.data).as_posix(),
            "export it again; a file that was changed on purpose is better kept elsewhere",
        )
    ]
    assert patient.command("export", "npy").code == 0
    assert patient.command("verify").code == 0

"""Repairs of what is not rows of a batch: calibrations come back from this machine's cache, and downloads from where
they were fetched.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings_dagster.encoders.openvino_model import calibrated_folder
from embeddings_dagster.stages.repair import Done, repair_calibrations
from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.cli.conftest import Command, isolate
from embeddings_dagster_tests.damage.injuries import undone
from embeddings_dagster_tests.damage.patient import SECOND, Patient, typed
from embeddings_dagster_tests.damage.test_repair import ledger_part, spoil
from embeddings_dagster_tests.damage.ward import Ward
from embeddings_dagster_tests.shop import Shop, open_shop, picture, tiny_png


def calibration(ward: Ward) -> tuple[Path, list[Path]]:
    """The record of the one calibration, and its files."""
    (record,) = ward.data.glob("models/dino/calibration/*/manifests/*")
    return record, sorted(path for path in record.parents[1].glob("files/*") if path.is_file())


def repaired(ward: Ward) -> Done:
    done = Done()
    repair_calibrations(ward.context, "dino", done)
    assert done.refused == []
    return done


def test_a_calibrations_files_come_back_from_the_cache_as_they_were(ward: Ward) -> None:
    record, files = calibration(ward)
    assert len(files) >= 2
    before = {path: path.read_bytes() for path in (record, *files)}
    with undone(*files):
        spoil(files[0])
        files[1].unlink()
        assert {each.file for each in verify(ward.store)} >= {f"{path.relative_to(ward.data)}" for path in files[:2]}
        assert sorted(repaired(ward).repaired) == [
            f"{path.relative_to(ward.data)} is there again, from the cache" for path in files[:2]
        ]
        assert {path: path.read_bytes() for path in (record, *files)} == before
        assert verify(ward.store) == []
        assert repaired(ward).repaired == [], "what is whole is left alone"


@pytest.mark.parametrize("injury", ["damaged", "lost"])
def test_a_calibrations_record_is_written_again_from_the_cache(ward: Ward, injury: str) -> None:
    record, files = calibration(ward)
    contents = json.loads(record.read_text())["contents"]
    before = {path: path.read_bytes() for path in files}
    with undone(record):
        spoil(record) if injury == "damaged" else record.unlink()
        assert [each.file for each in verify(ward.store)] == [f"{record.relative_to(ward.data)}"]
        assert repaired(ward).repaired == [f"{record.relative_to(ward.data)} is there again"]
        assert json.loads(record.read_text())["contents"] == contents
        assert {path: path.read_bytes() for path in files} == before
        assert verify(ward.store) == []


@pytest.mark.parametrize("cache", ["lost", "damaged"])
def test_a_calibration_that_no_cache_has_whole_stays_told(ward: Ward, cache: str, tmp_path: Path) -> None:
    """Nothing is made of half a calibration, and what is there is not touched."""
    record, files = calibration(ward)
    kept = calibrated_folder(ward.context.store.cache)
    shutil.copytree(kept, tmp_path / "kept")
    try:
        with undone(record, *files):
            spoil(files[0])
            if cache == "lost":
                shutil.rmtree(kept)
            else:
                spoil(*(path for path in kept.rglob("*") if path.is_file() and path.name != "contents.json"))
            after = {path: path.read_bytes() for path in (record, *files)}
            assert repaired(ward).repaired == []
            assert {path: path.read_bytes() for path in (record, *files)} == after
            (told,) = (each for each in verify(ward.store) if each.file == f"{files[0].relative_to(ward.data)}")
            assert told.remedy
    finally:
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", kept)
    assert verify(ward.store) == []


def every_part(patient: Patient, batch: str) -> list[Path]:
    """All that names pictures of a batch, but for index and catalogue."""
    datasets = ("raw_images", "rgb_images", patient.embeddings())
    parts = (part for dataset in datasets for part in (patient.data / dataset / batch / "parts").iterdir())
    return [ledger_part(patient, batch), *parts]


def test_a_batch_of_which_every_file_is_damaged_is_made_anew_as_the_index_names_it(patient: Patient) -> None:
    damaged = every_part(patient, SECOND)  # it has no failures, which no index knows
    spoil(*damaged)
    patient.require_healed(*damaged)


def test_pictures_that_nothing_names_any_more_are_told_and_come_back_with_the_next_run(patient: Patient) -> None:
    spoil(*every_part(patient, SECOND), *(patient.data / "indexes").rglob("rows.parquet"))
    told = patient.repair(code=1)
    assert told["left"] == []
    assert [each for each in told["refused"] if each.startswith(SECOND)] == [
        f"{SECOND}: nothing that can be read names 7 of its pictures any more; `embeddings run` takes in as new what "
        "of them is at the source"
    ]
    hits = {name for name, _ in patient.state()["hits"]}  # type: ignore[attr-defined]
    assert hits == {f"art:n{number:02}.png" for number in (0, 1, 2, 4, 5, 6)}
    typed("run")
    assert patient.state()["hits"] == patient.before["hits"]
    assert json.loads(patient.command("verify", "--json").out) == []


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as opened:
        yield opened


@pytest.mark.torture
def test_a_damaged_download_is_deleted_and_fetched_again_when_it_is_next_read(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    isolate(monkeypatch)
    monkeypatch.chdir(tmp_path)
    lines = ["product_id,title,image_url"]
    for number in range(3):
        shop[f"/{number}.png"] = picture(tiny_png(number))
        lines.append(f"p{number},jacket {number},{shop.url(f'/{number}.png')}")
    (tmp_path / "products.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "embeddings.yaml").write_text(
        "sources:\n  shop: {kind: catalog, path: products.csv, download: {private_hosts: ['127.0.0.1']}}\n"
        "models: {clip: {kind: clip, model: 'bundled:clip', device: cpu}}\n"
    )
    typed("run")
    downloads = sorted((tmp_path / "data" / "image_cache" / "shop").rglob("*.png"))
    assert len(downloads) == 3
    before = downloads[1].read_bytes()
    (part,) = (tmp_path / "data" / "rgb_images").rglob("*.parquet")
    spoil(downloads[1], part)

    told = json.loads(command("verify", "--repair", "--json").out)
    assert {each["file"] for each in told["problems"]} == {
        f"image_cache/{downloads[1].relative_to(tmp_path / 'data' / 'image_cache')}",
        f"{part.relative_to(tmp_path / 'data')}",
    }
    assert told["left"] == told["refused"] == []
    assert downloads[1].read_bytes() == before, "the rows that were to be made anew wanted it"
    assert command("verify").code == 0

    spoil(downloads[0])
    assert json.loads(command("verify", "--repair", "--json").out)["left"] == []
    assert not downloads[0].exists(), "nothing wants it yet"
    assert command("verify").code == 0

"""The loss of a chain's very last version, which the chain itself cannot tell: found by what was made of it, and by
Dagster's event log; and what only looks like a loss is no alarm.
"""

import json
import os
import shutil

import pytest

from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.damage.injuries import undone
from embeddings_dagster_tests.damage.patient import FIRST, Patient, paint, typed
from embeddings_dagster_tests.damage.ward import Ward


@pytest.mark.parametrize(
    ("pattern", "by"),
    [
        ("sources/art/manifests/*", "was made from version 3 of sources/art, whose newest is 2"),
        ("raw_images/art__000001/manifests/*", "was made from version 3 of raw_images/art__000001, whose newest is 2"),
        ("rgb_images/art__000001/manifests/*", "was made from version 3 of rgb_images/art__000001, whose newest is 2"),
        ("embeddings/clip/*/art__000001/manifests/*", "clip_index has taken in version 3 of it, and its newest is 2"),
        ("indexes/clip/*/manifests/*", "was exported from generation 3 of clip_index, whose newest is 2"),
    ],
)
def test_what_was_made_of_a_lost_version_tells_of_it(ward: Ward, pattern: str, by: str) -> None:
    from embeddings_dagster.exports.verify import verify_exports

    newest = max(ward.data.glob(pattern))
    with undone(newest):
        newest.unlink()
        assert by in [each.reason for each in (*verify(ward.store), *verify_exports(ward.store))]


def test_a_registry_and_a_calibration_that_are_gone_are_missed_by_the_index_and_the_registry(ward: Ward) -> None:
    registry = sorted(ward.data.glob("models/clip/manifests/*"))
    (record,) = ward.data.glob("models/dino/calibration/*/manifests/*")
    with undone(*registry, record):
        for path in (*registry, record):
            path.unlink()
        assert {each.file for each in verify(ward.store)} == {
            "models/clip/manifests/00000001.json",
            record.relative_to(ward.data).as_posix(),
        }


def files(patient: Patient) -> list[str]:
    found = json.loads(patient.command("verify", "--json").out)
    return sorted(each["file"] for each in found)


def test_the_event_log_knows_the_last_version_of_what_nothing_was_made_of(patient: Patient) -> None:
    """Embeddings whose index was pinned or lost with them, an index, and the catalogue."""
    (index,) = (patient.data / "indexes" / "clip").iterdir()
    lost = [
        patient.manifest(f"{patient.embeddings()}/{FIRST}"),
        patient.manifest(index.relative_to(patient.data).as_posix()),
        patient.manifest("catalog"),
    ]
    for path in lost:
        path.unlink()
    assert files(patient) == sorted(path.relative_to(patient.data).as_posix() for path in lost)
    patient.require_healed(*lost)


def test_an_older_state_that_was_restored_is_told_until_a_repair_has_looked_at_it(patient: Patient) -> None:
    """A backup of before the last run, put back while the pictures and Dagster's home went on."""
    backup = patient.root / "backup"
    shutil.copytree(patient.data, backup)
    paint(patient.root, 2, seed=900)
    typed("run")
    after = patient.state()
    shutil.rmtree(patient.data)
    backup.rename(patient.data)
    assert len(files(patient)) >= 3
    assert patient.repair()["left"] == []
    typed("run")
    assert patient.state() == after
    assert files(patient) == []


@pytest.mark.torture
def test_another_dagster_home_is_no_alarm(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has recorded more of another store with the same names."""
    other = patient.root / "other"
    other.mkdir()
    (other / "embeddings.yaml").write_text((patient.root / "embeddings.yaml").read_text())
    home = patient.root / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.chdir(other)
    for seed in range(3):
        paint(other, *range(9), seed=700 + 50 * seed)
        typed("run")
    monkeypatch.chdir(patient.root)
    assert files(patient) == []


def test_what_was_forgotten_and_what_is_begun_anew_are_no_alarms(patient: Patient) -> None:
    settings = patient.root / "embeddings.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("{art: {kind: folder, path: pictures}}", "{}"))
    assert patient.command("forget", "art", "--yes").code == 0
    assert files(patient) == []
    settings.write_text(text)
    typed("run")
    assert files(patient) == []


def test_a_home_that_cannot_be_read_costs_the_comparison_alone(patient: Patient) -> None:
    for path in (patient.root / ".dagster").rglob("*.db"):
        path.write_bytes(os.urandom(4096))
    said = patient.command("verify")
    assert said.code == 0
    assert "could not be compared" in said.err
    assert "everything is as it was committed" in said.out

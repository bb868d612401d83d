"""Canaries: the same model gives the same vectors, a changed computation is noticed, a new fingerprint is reported."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings_dagster.encoders import Vectors, loading, unload
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages import canaries
from embeddings_dagster.stages.canaries import Reference, compared, least, look_at_canaries, record, reference
from embeddings_dagster.stages.canaries_pictures import NAMES, canary_pictures, canary_pixels
from embeddings_dagster.stages.identities import identity as identity_of
from embeddings_dagster.stages.models import register
from embeddings_dagster_tests.encoders.tiny import save_dino
from embeddings_dagster_tests.stages.gallery import MODEL, Gallery, gallery


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Gallery]:
    """A project whose model is a tiny DINO of its own, so that its weights may be played with."""
    save_dino(tmp_path / "tiny")
    model = {"kind": "dino", "model": str(tmp_path / "tiny"), "device": "cpu"}
    yield gallery(tmp_path / "project", models={MODEL: model})
    unload()


@pytest.fixture
def drifting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What, when called, makes the arithmetic go wrong: from then on the first weights are loaded as others."""

    def go_wrong() -> None:
        real = loading.load_network

        def load(*arguments: Any) -> Any:
            network = real(*arguments)
            next(p for name, p in network.named_parameters() if "projection.weight" in name).data.mul_(-1.5)
            return network

        monkeypatch.setattr(loading, "load_network", load)
        unload()

    return go_wrong


def test_the_pictures_are_the_same_for_ever() -> None:
    """Numbers, and no library, decide them: references in stores all over the world hang on it."""
    digests = {name: hashlib.sha256(canary_pixels(name).tobytes()).hexdigest()[:8] for name in NAMES}
    assert len(set(digests.values())) == len(NAMES) == 16
    together = hashlib.sha256(b"".join(canary_pixels(name).tobytes() for name in NAMES)).hexdigest()
    assert together == "377acfef369e8fb1613bc8f27d941f1bf36aa191805648970f6b613946653d83"
    assert tuple(canary_pictures()) == NAMES


def test_the_first_look_records_and_the_next_finds_no_drift(shop: Gallery) -> None:
    first = look_at_canaries(shop.context, MODEL, LocalEngine())
    assert (first.recorded, first.passed, first.least) == (True, True, 0.999)
    before = shop.files("analysis")
    unload()
    again = look_at_canaries(shop.context, MODEL, LocalEngine())
    assert (again.recorded, again.passed, list(again.cosines)) == (False, True, list(NAMES))
    assert min(again.cosines.values()) > 0.999999
    assert "are as they were" in str(again)
    assert shop.files("analysis") == before, "written once"


def test_a_weight_that_changed_on_its_way_is_drift(
    shop: Gallery, drifting: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at_canaries(shop.context, MODEL, LocalEngine())
    drifting()
    drift = look_at_canaries(shop.context, MODEL, LocalEngine())
    assert not drift.passed
    assert drift.drifted
    assert drift.drifted[0] == min(drift.cosines, key=drift.cosines.__getitem__)
    assert f"{drift.drifted[0]} {drift.cosines[drift.drifted[0]]:.4f}" in str(drift)
    assert "libraries and machine are those of the reference" in str(drift)
    monkeypatch.undo()
    unload()
    assert look_at_canaries(shop.context, MODEL, LocalEngine()).passed, "loaded again it is itself again"


def test_drift_names_the_library_that_changed(
    shop: Gallery, drifting: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at_canaries(shop.context, MODEL, LocalEngine())
    real = canaries.version
    monkeypatch.setattr(canaries, "version", lambda name: "99.0" if name == "torch" else real(name))
    drifting()
    drift = look_at_canaries(shop.context, MODEL, LocalEngine())
    assert drift.changed == {"torch": f"{real('torch')} → 99.0"}
    assert f"changed since the reference: torch {real('torch')} → 99.0" in str(drift)


def test_a_new_fingerprint_is_recorded_and_set_beside_the_old(shop: Gallery, tmp_path: Path) -> None:
    context = shop.context
    old = identity_of(shop.store, MODEL, shop.settings.models[MODEL])
    register(shop.store, MODEL, old, shop.settings.models[MODEL])
    look_at_canaries(context, MODEL, LocalEngine())
    save_dino(tmp_path / "tiny", seed=1)
    unload()
    drift = look_at_canaries(context, MODEL, LocalEngine())
    assert drift.recorded
    assert drift.passed
    assert drift.comparison is not None
    assert drift.comparison.before == old.fp12
    assert drift.comparison.cosine is not None
    assert 0 <= drift.comparison.overlap <= 1
    assert f"beside {old.fp12}: mean cosine" in str(drift)
    assert len(list(Path(shop.store.root, "analysis", "canaries", MODEL).iterdir())) == 2


def test_fingerprints_of_other_dimensions_compare_by_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((16, 8)).astype(np.float32)
    wider = np.hstack([vectors, np.zeros((16, 4), np.float32)])
    found = compared(Reference("old", NAMES, vectors, {}), Reference("new", NAMES, wider, {}))
    assert found == canaries.Comparison("old", None, 1.0)


def test_a_reference_is_read_as_it_was_recorded(shop: Gallery) -> None:
    first = np.arange(48, dtype=np.float32).reshape(16, 3)
    record(shop.context, MODEL, "0" * 12, Reference("0" * 12, NAMES, first, {"numpy": "1"}))
    known = reference(shop.store, MODEL, "0" * 12)
    assert known is not None
    assert np.array_equal(known.vectors, first)
    assert known.made_with == {"numpy": "1"}


def test_a_damaged_reference_is_named_and_not_replaced(shop: Gallery) -> None:
    look_at_canaries(shop.context, MODEL, LocalEngine())
    [part] = Path(shop.store.root, "analysis").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(CorruptFile, match="from a backup; or delete it"):
        look_at_canaries(shop.context, MODEL, LocalEngine())


def test_int8_that_was_never_calibrated_says_so(shop: Gallery) -> None:
    int8 = shop.settings.models[MODEL].model_copy(update={"precision": "int8"})
    settings = shop.settings.model_copy(update={"models": {MODEL: int8}})
    drift = look_at_canaries(replace(shop.context, settings=settings), MODEL, LocalEngine())
    assert not drift.passed
    assert "`embeddings run` calibrates it" in str(drift)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, 0.999),
        ({"precision": "bf16"}, 0.999),
        ({"precision": "auto"}, 0.999),
        ({"precision": "int8"}, 0.99),
        ({"precision": "int8", "parity": 0.97}, 0.97),
        ({"precision": "bf16", "parity": 0}, 0.999),
        ({"parity": 0.5}, 0.999),
    ],
)
def test_the_tolerance_is_that_of_the_settings_and_never_nothing(said: dict[str, object], expected: float) -> None:
    assert least(ModelSettings(kind="dino", model="bundled:dino", **said)) == expected  # type: ignore[arg-type]


def test_vectors_that_are_not_finite_are_drift(shop: Gallery) -> None:
    def broken(numbers: Vectors) -> list[float]:
        return canaries._cosines(numbers, np.ones((2, 3), np.float32))

    assert broken(np.array([[1, 1, 1], [np.nan, 1, 1]], np.float32)) == [pytest.approx(1.0), -1.0]
    assert broken(np.ones((2, 4), np.float32)) == [-1.0, -1.0]

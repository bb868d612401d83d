"""docs/models.md: its example runs as it stands there, and it names every family of models and every key."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.cli.template import render
from embeddings_dagster.encoders import Unit, encode_units, identify, load, unload
from embeddings_dagster.encoders.families import CLIP_KIN, DINO_KIN
from embeddings_dagster.settings import load_settings
from embeddings_dagster.settings_models import ModelSettings, NetworkSettings
from embeddings_dagster_tests.encoders import own

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "models.md").read_text()
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", PAGE, flags=re.DOTALL)


def example(folder: Path) -> Path:
    """The files of the whole example in `folder`, its weights saved as it says; the path of its settings."""
    for _, block in BLOCKS:
        named = re.match(r"# (\w+\.(?:py|yaml))\n", block)
        if named:
            (folder / named[1]).write_text(block)
    subprocess.run([sys.executable, "save_weights.py"], cwd=folder, check=True)
    return folder / "embeddings.yaml"


@pytest.fixture
def model(tmp_path: Path) -> ModelSettings:
    return load_settings(example(tmp_path)).models["pages"]


def test_the_example_encodes_pages_whose_vectors_depend_on_their_panels(model: ModelSettings) -> None:
    pages = [own.page(f"page {n}", panels) for n, panels in enumerate([4, 0, 12, 15])]
    encoder = load(model, "cpu")
    found = list(encode_units(encoder, pages, own.decode, batch_size=8, threads=2))
    assert [each.vectors.shape for each in found if each.vectors is not None] == [
        (5, 384),
        (1, 384),
        (13, 384),
        (13, 384),
    ]
    assert sorted(found[3].left_out) == [13, 14, 15]
    fewer = Unit("fewer", pages[0].data, pages[0].regions[:3])
    (other,) = encode_units(encoder, [fewer], own.decode, batch_size=8, threads=1)
    assert other.vectors is not None
    assert found[0].vectors is not None
    np.testing.assert_allclose(other.vectors[1:], found[0].vectors[1:3], rtol=1e-4, atol=1e-5)
    assert not np.allclose(other.vectors[0], found[0].vectors[0], atol=1e-4)
    unload()


def test_the_example_has_the_identity_it_says(model: ModelSettings) -> None:
    found = identify(model)
    assert (found.dimension, found.inputs, found.normalised) == (384, "images", False)


def test_the_settings_it_shows_are_settings(tmp_path: Path) -> None:
    shown = [block for kind, block in BLOCKS if kind == "yaml"]
    for block in shown:
        (tmp_path / "embeddings.yaml").write_text(block)
        assert load_settings(tmp_path / "embeddings.yaml").models
    assert len(shown) == 2


def test_every_family_of_models_is_named() -> None:
    assert [name for name in (*CLIP_KIN, *DINO_KIN) if f"`{name}`" not in PAGE] == []


def test_every_key_is_explained_there_or_in_what_init_writes() -> None:
    explained = PAGE + render({"art": "art"})
    keys = {*ModelSettings.model_fields, *NetworkSettings.model_fields} - {"side", "calibrated"}
    assert [key for key in keys if key not in explained] == []

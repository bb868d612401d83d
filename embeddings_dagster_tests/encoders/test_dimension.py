"""How long vectors are is read from the weights' headers, and a model that does not fit is told why."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embeddings_dagster.encoders.dimension import dimension
from embeddings_dagster.encoders.families import CLIP_KIN, DINO_KIN, UNFIT
from embeddings_dagster.encoders.files import ModelFiles
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny_kin

WEIGHTS = {"visual_projection.weight": (24, 32), "text_projection.weight": (24, 16)}


def model(folder: Path, model_type: str = "clip", weights: dict[str, tuple[int, ...]] | None = None) -> ModelFiles:
    """A model of that type whose weights have those names and shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    tensors = {name: np.zeros(shape, np.float16) for name, shape in (weights or WEIGHTS).items()}
    save_file(tensors, folder / "model.safetensors")
    return files(folder)


def files(folder: Path) -> ModelFiles:
    return ModelFiles(folder, "mine", "", (), tuple(sorted(folder.glob("*.safetensors"))))


def test_a_length_is_that_of_the_projections(tmp_path: Path) -> None:
    assert dimension("clip", "mine", model(tmp_path)) == 24
    behind_a_prefix = {f"clip.{name}": shape for name, shape in WEIGHTS.items()}
    assert dimension("clip", "mine", model(tmp_path, weights=behind_a_prefix)) == 24


def test_the_two_projections_may_lie_in_two_files(tmp_path: Path) -> None:
    model(tmp_path)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        save_file({name: tensor}, tmp_path / f"{name[:4]}.safetensors")
    (tmp_path / "model.safetensors").unlink()
    assert dimension("clip", "mine", files(tmp_path)) == 24


def test_all_types_that_are_listed_are_tried() -> None:
    """See test_kin.py, which loads each of them and compares."""
    assert set(CLIP_KIN) == {"clip", *tiny_kin.CLIP_KIN}
    assert set(DINO_KIN) == {"dinov2", *tiny_kin.DINO_KIN}


@pytest.mark.parametrize("model_type", sorted(UNFIT))
def test_a_model_without_one_vector_of_a_picture_is_refused(tmp_path: Path, model_type: str) -> None:
    with pytest.raises(ModelError, match=rf"the model 'mine' \(type {model_type}\) cannot be used: \w+"):
        dimension("clip", "mine", model(tmp_path, model_type))


def test_a_model_of_another_kind_says_which(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"of type 'siglip', and kind dino takes dinov2, .*; set its `kind` to clip"):
        dimension("dino", "mine", model(tmp_path, "siglip"))
    with pytest.raises(
        ModelError, match=r"of type 'dinov2', and kind clip takes .* siglip, .*; set its `kind` to dino"
    ):
        dimension("clip", "mine", model(tmp_path, "dinov2"))
    with pytest.raises(ModelError, match=r"of type 'bert', .*; correct `kind` or `model`, or make it .* kind custom"):
        dimension("clip", "mine", model(tmp_path, "bert"))


def test_half_a_model_is_refused(tmp_path: Path) -> None:
    pictures_only = {"visual_projection.weight": (24, 32)}
    with pytest.raises(ModelError, match=r"no weights named 'text_projection.weight', so it is not all of a clip"):
        dimension("clip", "mine", model(tmp_path, weights=pictures_only))


def test_pictures_and_texts_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    unlike = {"vision_model.head.layernorm.weight": (32,), "text_model.head.weight": (24, 32)}
    with pytest.raises(ModelError, match="vectors of 32 numbers for pictures and of 24 for texts, so they cannot be"):
        dimension("clip", "mine", model(tmp_path, "siglip", unlike))


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"model_type": '])
def test_a_config_that_does_not_say_what_it_is_is_named(tmp_path: Path, config: str) -> None:
    torn = model(tmp_path)
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config.json' does not say what type of model it is \(.*\); fetch it again"):
        dimension("clip", "mine", torn)


def test_torn_weights_are_named(tmp_path: Path) -> None:
    torn = model(tmp_path)
    torn.weights[0].write_bytes(torn.weights[0].read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model.safetensors' is not a whole safetensors file .*; fetch it again"):
        dimension("clip", "mine", torn)

import shutil
from pathlib import Path

import pytest

from embeddings_dagster.encoders import identify
from embeddings_dagster.encoders.identity import remembered_sha256
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny


def clip(folder: Path) -> ModelSettings:
    return ModelSettings(kind="clip", model=str(folder))


def test_says_which_model_and_how_long_its_vectors_are(tiny_clip: ModelSettings, tiny_dino: ModelSettings) -> None:
    assert identify(tiny_clip).dimension == 24
    assert identify(tiny_dino).dimension == 32
    bundled = identify(ModelSettings(kind="clip", model="bundled:clip"))
    assert bundled.model == "bundled:clip"
    assert len(bundled.fingerprint) == 64
    assert bundled.fp12 == bundled.fingerprint[:12]


def test_a_folder_moved_elsewhere_keeps_its_fingerprint(clip_folder: Path, tmp_path: Path) -> None:
    before = identify(clip(clip_folder))
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(clip_folder, moved)
    assert identify(clip(moved)) == before


@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"],
)
def test_a_change_of_a_file_that_decides_a_vector_changes_it(clip_folder: Path, name: str) -> None:
    before = identify(clip(clip_folder)).fingerprint
    if name == "model.safetensors":
        tiny.save_clip(clip_folder, seed=1)
    else:
        with (clip_folder / name).open("a") as file:
            file.write("\n")
    assert identify(clip(clip_folder)).fingerprint != before


def test_nothing_else_changes_it(clip_folder: Path) -> None:
    before = identify(clip(clip_folder)).fingerprint
    for name in ("README.md", "pytorch_model.bin", "model.fp16.safetensors", "training_args.json"):
        (clip_folder / name).write_bytes(b"other")
    elsewhere = clip(clip_folder).model_copy(update={"device": "cuda", "batch_size": 7, "threads": 9})
    assert identify(elsewhere).fingerprint == before


def test_a_tokenizer_is_nothing_to_a_model_without_a_text_side(tmp_path: Path) -> None:
    model = tiny.save_dino(tmp_path / "dino")
    before = identify(model).fingerprint
    tiny.save_tokenizer(tmp_path / "dino")
    assert identify(model).fingerprint == before


def test_kinds_and_names_tell_equal_files_apart(clip_folder: Path) -> None:
    bundled = ModelSettings(kind="clip", model="bundled:clip")
    for path in (Path(__file__).parents[2] / "embeddings_dagster/bundled/clip").iterdir():
        shutil.copy(path, clip_folder / path.name)
    assert identify(bundled).details["weights"] == identify(clip(clip_folder)).details["weights"]
    assert identify(bundled).fingerprint != identify(clip(clip_folder)).fingerprint


def test_weights_in_several_files_are_one_model(tmp_path: Path) -> None:
    model = tiny.save_clip(tmp_path / "sharded", max_shard_size="20KB")
    assert not (tmp_path / "sharded/model.safetensors").exists()
    before = identify(model)
    assert before.dimension == 24
    last = sorted((tmp_path / "sharded").glob("model-*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"\x01")
    assert identify(model).fingerprint != before.fingerprint


def test_hashes_come_from_the_caller_where_it_remembers_them(tiny_clip: ModelSettings) -> None:
    asked: list[str] = []

    def digest(path: Path) -> str:
        asked.append(path.name)
        return "0" * 64

    identify(tiny_clip, digest=digest)
    assert sorted(asked) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    one = remembered_sha256(path)
    assert one == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert remembered_sha256(path) == one
    path.write_bytes(b"three")
    assert remembered_sha256(path) != one


def test_a_model_of_another_kind_is_named_as_such(clip_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"is of type 'clip', and kind dino takes .*; set its `kind` to clip"):
        identify(ModelSettings(kind="dino", model=str(clip_folder)))


def test_torn_weights_are_named(clip_folder: Path) -> None:
    weights = clip_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model.safetensors' is not a whole safetensors file .*; fetch it again"):
        identify(clip(clip_folder))

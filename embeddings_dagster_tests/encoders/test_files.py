from pathlib import Path

import pytest

from embeddings_dagster.encoders.files import is_folder, locate, missing, wanted
from embeddings_dagster.errors import ModelUnavailable
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny

REPOSITORY = [
    ".gitattributes",
    "README.md",
    "config.json",
    "flax_model.msgpack",
    "merges.txt",
    "model.safetensors",
    "onnx/model.onnx",
    "preprocessor_config.json",
    "pytorch_model.bin",
    "special_tokens_map.json",
    "tf_model.h5",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
]


def clip(name: object) -> ModelSettings:
    return ModelSettings(kind="clip", model=str(name))


@pytest.mark.parametrize("name", ["/models/clip", "./clip", "../clip", ".", "~/clip", "C:\\clip", "d:/clip"])
def test_a_folder_is_written_as_one(name: str) -> None:
    assert is_folder(name)


@pytest.mark.parametrize("name", ["openai/clip-vit-base-patch32", "gpt2", "bundled:clip"])
def test_anything_else_is_no_folder_whatever_lies_in_the_working_directory(name: str) -> None:
    assert not is_folder(name)


def test_takes_of_a_repository_what_is_used_and_no_pickle_weights_last() -> None:
    assert wanted(REPOSITORY, "dino") == ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert wanted(REPOSITORY, "clip") == [
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "model.safetensors",
    ]


def test_takes_all_shards_where_the_weights_are_in_several_files() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    names = ["config.json", "model.safetensors.index.json", *shards, "model-fp16.safetensors"]
    assert wanted(names, "dino") == ["config.json", "model.safetensors.index.json", *shards]


def test_an_unknown_bundled_model_names_those_that_are_bundled() -> None:
    with pytest.raises(ModelUnavailable, match=r"no model 'bundled:clop'; bundled are: bundled:clip, bundled:dino"):
        locate(clip("bundled:clop"))


@pytest.mark.parametrize("name", ["bundled:..", "bundled:../store", "bundled:"])
def test_bundled_names_do_not_leave_their_folder(name: str) -> None:
    with pytest.raises(ModelUnavailable, match="there is no model"):
        locate(clip(name))


def test_a_missing_folder_names_itself_and_the_bundled_models(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"nowhere' does not exist; correct `model`.*bundled:clip"):
        locate(clip(tmp_path / "nowhere"))


def test_a_name_the_hub_cannot_know_is_refused_without_asking_it() -> None:
    with pytest.raises(ModelUnavailable, match=r"'a b/c' is not the id of a hub repository.*leading \./"):
        locate(clip("a b/c"))


def test_a_folder_with_pickled_weights_only_is_refused_and_says_how_to_convert(clip_folder: Path) -> None:
    (clip_folder / "model.safetensors").rename(clip_folder / "pytorch_model.bin")
    with pytest.raises(
        ModelUnavailable, match=r"lacks model\.safetensors.*pickles.*Convert it once: .*save_pretrained"
    ):
        locate(clip(clip_folder))


def test_what_a_folder_lacks_is_named(clip_folder: Path) -> None:
    (clip_folder / "tokenizer.json").unlink()
    (clip_folder / "preprocessor_config.json").unlink()
    assert missing(clip_folder, "dino") == ["preprocessor_config.json or processor_config.json"]
    with pytest.raises(ModelUnavailable, match=r"lacks preprocessor_config.json or .*, tokenizer.json or vocab.json"):
        locate(clip(clip_folder))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    model = tiny.save_dino(tmp_path / "dino", max_shard_size="20KB")
    shard = min((tmp_path / "dino").glob("model-*.safetensors"))
    shard.unlink()
    with pytest.raises(ModelUnavailable, match=f"lacks {shard.name} in .* Put the file there"):
        locate(model)


def test_a_broken_index_of_shards_is_named(tmp_path: Path) -> None:
    model = tiny.save_dino(tmp_path / "dino", max_shard_size="20KB")
    (tmp_path / "dino/model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelUnavailable, match=r"index.json' is not an index of safetensors files"):
        locate(model)

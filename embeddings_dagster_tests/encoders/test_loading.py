import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.encoders import encode_image, load, loading, unload
from embeddings_dagster.encoders.runtime import LOCK, choose_device
from embeddings_dagster.errors import DeviceUnavailable, ModelError
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import tiny

MANY_THREADS_FIRST = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from PIL import Image
from embeddings_dagster.encoders import encode_image, load
from embeddings_dagster.settings_models import ModelSettings
models = [ModelSettings(kind=kind, model="bundled:" + kind) for kind in ("clip", "dino")]
barrier = Barrier(8)
def work(number):
    barrier.wait()
    encoder = load(models[number % 2])
    encode_image(encoder, Image.new("RGB", (9, 9), "red"))
    return id(encoder)
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(work, range(8)))))
"""


def clip(folder: Path) -> ModelSettings:
    return ModelSettings(kind="clip", model=str(folder))


def test_a_model_is_loaded_once_and_freed_on_request(tiny_clip: ModelSettings) -> None:
    encoder = load(tiny_clip)
    assert load(tiny_clip) is encoder
    assert load(tiny_clip, "cpu") is encoder
    assert load(tiny_clip.model_copy(update={"batch_size": 3})) is encoder
    unload()
    with pytest.raises(ModelError, match="has been closed"):
        encoder.encode_text(["dog"])
    assert load(tiny_clip) is not encoder


def test_both_sides_of_a_model_are_one_and_loading_one_does_not_put_the_other_out(tiny_clip: ModelSettings) -> None:
    pictures = load(tiny_clip)
    assert load(tiny_clip.model_copy(update={"side": "text"})) is pictures
    assert load(tiny_clip) is pictures


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"precision": "bf16"}, {"backend": "openvino"}])
def test_texts_are_read_in_float32_whatever_pictures_are_encoded_in(
    tiny_clip: ModelSettings, change: dict[str, str]
) -> None:
    texts = load(tiny_clip.model_copy(update={"side": "text", **change}))
    assert (texts.precision, texts.gate) == ("fp32", None)
    assert texts is load(tiny_clip)
    assert np.array_equal(texts.encode_long_text(["dog"]), load(tiny_clip).encode_text(["dog"]))


def test_what_makes_no_difference_to_float32_loads_no_second_model(tiny_clip: ModelSettings) -> None:
    assert load(tiny_clip.model_copy(update={"parity": 0.5, "calibration": 2})) is load(tiny_clip)


def test_parity_zero_compares_nothing(tiny_clip: ModelSettings) -> None:
    bf16 = tiny_clip.model_copy(update={"precision": "bf16"})
    assert load(bf16).gate is not None
    assert load(bf16.model_copy(update={"parity": 0.0})).gate is None


def test_what_is_loaded_late_goes_with_what_was_loaded_first_or_is_refused(clip_folder: Path) -> None:
    """The float32 model that bf16 is compared with, and the network that reads texts in float32."""
    encoder = load(clip(clip_folder).model_copy(update={"precision": "bf16"}))
    tiny.save_clip(clip_folder, seed=9)
    with pytest.raises(ModelError, match="changed while it was in use; start again"):
        encode_image(encoder, tiny.picture(0))
    with pytest.raises(ModelError, match="changed while it was in use; start again"):
        encoder.encode_text(["dog"])


def test_a_comparison_that_cannot_be_made_says_how_to_go_without(clip_folder: Path) -> None:
    encoder = load(clip(clip_folder).model_copy(update={"precision": "bf16"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_network", _no_memory)
        with pytest.raises(ModelError, match=r"float32, which failed: .*MemoryError.*`parity` to 0"):
            encode_image(encoder, tiny.picture(0))


def _no_memory(*_: object) -> None:
    raise MemoryError


def test_a_model_that_is_loaded_is_used_while_another_one_is_being_loaded(tiny_clip: ModelSettings) -> None:
    fast = load(tiny_clip.model_copy(update={"preprocessing": "fast"}))
    fast.encode_text(["dog"])

    def use() -> int:
        return len(encode_image(fast, tiny.picture(0))) + len(fast.encode_text(["dog"]))

    with ThreadPoolExecutor(1) as pool, LOCK:  # as whoever loads holds it
        assert pool.submit(use).result(timeout=30) == 25


def test_eight_threads_may_load_first_at_the_same_time() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_THREADS_FIRST], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr


def test_a_folder_with_new_weights_is_loaded_anew(clip_folder: Path) -> None:
    image = tiny.picture(0)
    old = load(clip(clip_folder))
    before = encode_image(old, image)
    tiny.save_clip(clip_folder, seed=9)
    new = load(clip(clip_folder))
    assert new is not old
    assert np.array_equal(encode_image(old, image), before)
    assert not np.allclose(encode_image(new, image), before)


def test_weights_in_several_files_give_the_same_vectors(tiny_clip: ModelSettings, tmp_path: Path) -> None:
    sharded = tiny.save_clip(tmp_path / "sharded", max_shard_size="20KB")
    image = tiny.picture(0)
    assert np.allclose(encode_image(load(sharded), image), encode_image(load(tiny_clip), image), atol=1e-6)


def test_missing_tensors_are_an_error_and_not_filled_at_random(clip_folder: Path) -> None:
    config = json.loads((clip_folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 3
    (clip_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"lack \d+ tensors, such as 'vision_model\.encoder\.layers\.2\."):
        load(clip(clip_folder))


def test_tensors_of_other_shapes_are_an_error(clip_folder: Path) -> None:
    config = json.loads((clip_folder / "config.json").read_text())
    config["vision_config"]["intermediate_size"] = 64
    (clip_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be loaded on cpu"):
        load(clip(clip_folder))


def test_a_config_that_does_not_parse_is_an_error_with_the_folder(clip_folder: Path) -> None:
    (clip_folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json' does not say what type of model it is \(JSONDecodeError"):
        load(clip(clip_folder))


def test_code_that_a_model_brings_along_is_not_run(clip_folder: Path, tmp_path: Path) -> None:
    config = json.loads((clip_folder / "config.json").read_text())
    config["model_type"] = "unheard-of"
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (clip_folder / "config.json").write_text(json.dumps(config))
    (clip_folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="is of type 'unheard-of'"):
        load(clip(clip_folder))
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_without_the_end_token_is_refused(clip_folder: Path) -> None:
    tiny.save_tokenizer(clip_folder, ends=False)
    with pytest.raises(ModelError, match=r"tokenizer of the model .* does not fit it: an empty text becomes"):
        load(clip(clip_folder))


def test_auto_takes_a_device_that_is_there_and_cpu_always_is() -> None:
    import torch

    expected = "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto") == expected
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda:99", "cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(
    tiny_clip: ModelSettings, device: str
) -> None:
    import torch

    if (device == "cuda" and torch.cuda.is_available()) or (device == "mps" and torch.backends.mps.is_available()):
        pytest.skip(f"this machine has {device}")
    with pytest.raises(DeviceUnavailable, match=rf"'{device}' is not there.*this machine has .*cpu.*or to auto"):
        load(tiny_clip.model_copy(update={"device": device}))

"""The class token alone, against the same network as it was: nothing but rounding differs, or nothing is touched."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from embeddings_dagster.encoders.class_token import ClassTokenLayer, class_token_only
from embeddings_dagster.encoders.features import image_features
from embeddings_dagster_tests.encoders import tiny, tiny_kin

KNOWN: dict[str, Callable[[], Any]] = {
    "clip": tiny.clip_config,
    "altclip": tiny_kin.altclip,
    "metaclip_2": tiny_kin.metaclip_2,
    "dual encoder": tiny_kin.dual_encoder,
    "dinov2": tiny.dino_config,
    "dinov2_with_registers": tiny_kin.dinov2_with_registers,
}
UNKNOWN: dict[str, Callable[[], Any]] = {
    name: make
    for name, make in {**tiny_kin.CLIP_KIN, **tiny_kin.DINO_KIN}.items()
    if name not in {"altclip", "metaclip_2", "vision-text-dual-encoder", "dinov2_with_registers"}
}


def network(config: Any, seed: int = 0) -> Any:
    """A network of random weights that are large enough for each layer, scale and head to matter."""
    made = transformers.MODEL_MAPPING[type(config)](config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return made


def pixels(count: int = 3, size: int = tiny.SIZE) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def features(made: Any, given: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = image_features(made)(given)
    return found


def assert_alike(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("make", KNOWN.values(), ids=KNOWN)
def test_features_are_those_of_the_whole_layer(make: Callable[[], Any], implementation: str) -> None:
    made = network(make())
    made.set_attn_implementation(implementation)
    expected = features(made, pixels())
    assert class_token_only(made)
    assert_alike(features(made, pixels()), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"drop_path_rate": 0.3, "layerscale_value": 0.5},
        {"use_swiglu_ffn": True},
        {"qkv_bias": False},
        {"num_hidden_layers": 1},
        {"image_size": 48},
    ],
    ids=str,
)
def test_variants_of_dinov2_are_the_same_too(changes: dict[str, Any]) -> None:
    config = tiny.dino_config()
    config.update(changes)
    made = network(config)
    expected = features(made, pixels(size=tiny.SIZE))
    assert class_token_only(made)
    assert_alike(features(made, pixels(size=tiny.SIZE)), expected)


@pytest.mark.parametrize("make", [tiny.full_clip_config, tiny.full_dino_config], ids=["ViT-B/32", "DINOv2-S"])
def test_at_full_size_the_features_are_the_same(make: Callable[[], Any]) -> None:
    config = make()
    if hasattr(config, "text_config"):
        config.text_config.num_hidden_layers = 1
    with torch.device("meta"):
        made = transformers.MODEL_MAPPING[type(config)](config)
    made = made.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-0.05, 0.05, generator=generator).add_(1 if parameter.ndim == 1 else 0)
        for name, buffer in made.named_buffers():
            assert name.endswith("position_ids")
            buffer.copy_(torch.arange(buffer.numel()).view(buffer.shape))
    given = pixels(2, 224)
    expected = features(made, given)
    assert class_token_only(made)
    assert_alike(features(made, given), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_is_converted_with_its_network(dtype: torch.dtype) -> None:
    made = network(tiny.clip_config())
    expected = features(made, pixels())
    assert class_token_only(made)
    found = features(made.to(dtype), pixels().to(dtype))
    assert found.dtype == dtype
    assert (tiny.cosines(found.float(), expected) > 0.999).all()


def test_texts_are_what_they_were() -> None:
    made = network(tiny.clip_config())
    words = torch.tensor([[tiny.BOS, 5, 6, tiny.EOS]])
    with torch.inference_mode():
        expected = made.get_text_features(input_ids=words).pooler_output
        assert class_token_only(made)
        assert torch.equal(made.get_text_features(input_ids=words).pooler_output, expected)


def test_of_the_other_tokens_nothing_is_computed() -> None:
    made = network(tiny.clip_config())
    assert class_token_only(made)
    with torch.inference_mode():
        tokens = made.vision_model(pixel_values=pixels()).last_hidden_state
    assert tokens.shape == (3, 1, 32)


def test_tokens_that_are_masked_go_through_the_layer_as_it_was() -> None:
    made = network(tiny.dino_config())
    whole = copy.deepcopy(made.encoder.layer[-1])
    assert class_token_only(made)
    tokens = torch.randn(2, 5, 32)
    mask = torch.zeros(2, 1, 5, 5)
    mask[..., 3:] = float("-inf")
    with torch.inference_mode():
        assert torch.equal(made.encoder.layer[-1](tokens, mask), whole(tokens, mask)[:, :1])


def test_a_second_time_changes_nothing() -> None:
    made = network(tiny.clip_config())
    assert class_token_only(made)
    expected = features(made, pixels())
    assert not class_token_only(made)
    assert torch.equal(features(made, pixels()), expected)


def assert_untouched(made: Any) -> None:
    before = features(made, pixels())
    assert not class_token_only(made)
    assert not any(isinstance(module, ClassTokenLayer) for module in made.modules())
    assert torch.equal(features(made, pixels()), before)


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN)
def test_a_family_that_is_not_known_is_left_as_it_is(make: Callable[[], Any]) -> None:
    assert_untouched(network(make()))


def test_a_network_that_means_over_the_patches_is_left_as_it_is() -> None:
    made = transformers.CLIPForImageClassification(tiny.clip_config()).eval()
    given = pixels()
    with torch.inference_mode():
        before = made(pixel_values=given).logits
        assert not class_token_only(made)
        assert torch.equal(made(pixel_values=given).logits, before)


def test_a_dual_encoder_with_another_tower_is_left_as_it_is() -> None:
    text, vision = transformers.BertConfig(**tiny_kin.TEXT), transformers.ViTConfig(**tiny_kin.VISION)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    assert_untouched(network(config))


class CLIPModel(transformers.CLIPModel):  # type: ignore[misc]
    """Of the same name as the one that is known, which says nothing of what it does."""


def test_a_class_of_someone_elses_is_left_as_it_is() -> None:
    assert_untouched(CLIPModel(tiny.clip_config()).eval())


class CLIPEncoderLayer(torch.nn.Module):
    """Someone's own layer in a network that is known otherwise."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.inner = layer

    def forward(self, tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        found: torch.Tensor = self.inner(tokens, *args, **options)
        return found.flip(1)


def test_a_layer_of_someone_elses_is_left_as_it_is() -> None:
    made = network(tiny.clip_config())
    layers = made.vision_model.encoder.layers
    layers[-1] = CLIPEncoderLayer(layers[-1])
    assert_untouched(made)


@pytest.mark.parametrize("change", ["causal", "scale", "implementation", "hook", "forward"])
def test_attention_that_is_not_the_usual_is_left_as_it_is(change: str) -> None:
    made = network(tiny.clip_config())
    layer = made.vision_model.encoder.layers[-1]
    if change == "causal":
        layer.self_attn.is_causal = True
    elif change == "scale":
        layer.self_attn.scale *= 2
    elif change == "implementation":
        layer.self_attn.config = copy.deepcopy(layer.self_attn.config)
        layer.self_attn.config._attn_implementation_internal = "flex_attention"
    elif change == "hook":
        layer.register_forward_hook(lambda module, given, found: found * 2)
    else:
        layer.forward = lambda tokens, *args, **options: tokens
    assert not class_token_only(made)
    assert made.vision_model.encoder.layers[-1] is layer


def test_a_network_in_training_is_left_as_it_is() -> None:
    made = network(tiny.clip_config()).train()
    assert not class_token_only(made)


def test_a_tower_without_layers_is_left_as_it_is() -> None:
    config = tiny.clip_config()
    config.vision_config.num_hidden_layers = 0
    assert_untouched(network(config))


class _Vision(torch.nn.Module):
    """A network's picture side as a module, which is what can be traced."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = image_features(self.made)(given)
        return found


@pytest.mark.filterwarnings("ignore")  # torch's tracer, which OpenVINO uses, speaks of its own age
@pytest.mark.parametrize("make", [tiny.clip_config, tiny.dino_config], ids=["clip", "dinov2"])
def test_it_can_be_traced_for_batches_of_any_size(make: Callable[[], Any]) -> None:
    made = network(make())
    assert class_token_only(made)
    with torch.no_grad():
        traced = torch.jit.trace(_Vision(made), pixels(2), check_trace=False)
        for count in (1, 5):
            assert_alike(traced(pixels(count)), features(made, pixels(count)))

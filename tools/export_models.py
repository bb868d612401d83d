"""The shapes of the two bundled models, and their export in Hugging Face format: float16 safetensors, no pickle."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from captions import BOS, EOS, MAX_TOKENS, PAD
from renderings import INPUT
from torch import nn
from transformers import CLIPConfig, Dinov2Config, PreTrainedModel, PreTrainedTokenizerFast

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINO_MEAN, DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def clip_config(words: int) -> CLIPConfig:
    """About 3.5 million parameters: 64-pixel pictures in patches of 16, 20 words, 128 dimensions."""
    text = {
        "vocab_size": words,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": 128,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    vision = {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": INPUT,
        "patch_size": 16,
        "projection_dim": 128,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)


def dino_config() -> Dinov2Config:
    """About 1.9 million parameters: 64-pixel pictures in patches of 16, 192 dimensions."""
    return Dinov2Config(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        mlp_ratio=4,
        image_size=INPUT,
        patch_size=16,
    )


def export_clip(model: nn.Module, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes model, tokenizer and processor settings to `out`."""
    _export(model, out, "CLIPImageProcessor", CLIP_MEAN, CLIP_STD)
    tokenizer.backend_tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(out)


def export_dino(model: nn.Module, out: Path) -> None:
    """Writes model and processor settings to `out`."""
    _export(model, out, "BitImageProcessor", DINO_MEAN, DINO_STD)


def _export(model: nn.Module, out: Path, processor: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Stores float16; the configuration says float32, so that by default the model computes in float32."""
    assert isinstance(model, PreTrainedModel)
    out.mkdir(parents=True, exist_ok=True)
    half: PreTrainedModel = copy.deepcopy(model).half()  # type: ignore[no-untyped-call]
    half.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    settings = {
        "image_processor_type": processor,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": INPUT},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": INPUT, "width": INPUT},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    (out / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

"""Models of the real architectures with random weights, in the format of the hub; and pictures and units for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embeddings_dagster.encoders import Region, Unit
from embeddings_dagster.images.regions import Box
from embeddings_dagster.settings_models import ModelSettings

WORDS = ["<pad>", "<unk>", "<bos>", "<eos>", "a", "red", "heart", "dog", "pizza", "blue", "cat", "face"]
PAD, UNK, BOS, EOS = range(4)
SIZE = 32


def clip_config() -> Any:
    from transformers import CLIPConfig

    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 8, "pad_token_id": PAD, "bos_token_id": BOS}
    vision = {"image_size": SIZE, "patch_size": 16}
    return CLIPConfig(
        text_config={**small, **text, "eos_token_id": EOS}, vision_config={**small, **vision}, projection_dim=24
    )


def full_clip_config() -> Any:
    """CLIP ViT-B/32 as OpenAI published it, but for the words, which are ours and few."""
    from transformers import CLIPConfig

    words = {"vocab_size": len(WORDS), "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    return CLIPConfig(text_config=words)


def dino_config() -> Any:
    from transformers import Dinov2Config

    return Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=SIZE, patch_size=16
    )


def full_dino_config() -> Any:
    """DINOv2-S as Meta published it: 518-pixel positions, interpolated for pictures of 224."""
    from transformers import Dinov2Config

    return Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14)


def save_clip(folder: Path, config: Any = None, *, seed: int = 0, **options: Any) -> ModelSettings:
    """A CLIP with random weights in `folder`, its tokenizer with it."""
    from transformers import CLIPModel

    config = config or clip_config()
    _save(folder, CLIPModel, config, seed, options)
    save_processor(folder, "CLIPImageProcessor", config.vision_config.image_size)
    save_tokenizer(folder)
    return ModelSettings(kind="clip", model=str(folder))


def save_dino(folder: Path, config: Any = None, *, seed: int = 0, size: int = SIZE, **options: Any) -> ModelSettings:
    """A DINOv2 with random weights in `folder`, for pictures of `size` pixels."""
    from transformers import Dinov2Model

    _save(folder, Dinov2Model, config or dino_config(), seed, options)
    save_processor(folder, "BitImageProcessor", size)
    return ModelSettings(kind="dino", model=str(folder))


def _save(folder: Path, kind: Any, config: Any, seed: int, options: dict[str, Any]) -> None:
    """Weights are filled in here, since transformers' own start takes 8 s for a model of 90 million."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        network = kind(config)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            is_scale = parameter.ndim == 1  # of a norm; a bias near 1 does no harm
            parameter.uniform_(-0.05, 0.05, generator=generator).add_(1 if is_scale else 0)
    network.half().save_pretrained(folder, **options)


def save_processor(folder: Path, kind: str, edge: int, **changes: object) -> None:
    settings = {
        "image_processor_type": kind,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": edge},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": edge, "width": edge},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **changes}), encoding="utf-8")


def save_tokenizer(folder: Path, *, ends: bool = True) -> None:
    """One word a token, between a start and (unless not `ends`) an end token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>" if ends else "<bos> $A", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """An RGB picture of smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def unit(name: str, data: bytes = b"", boxes: tuple[Box | None, ...] = (None,)) -> Unit:
    """An image with a region for each box."""
    return Unit(name, data, tuple(Region(i, box, None, f"{name}/{i}") for i, box in enumerate(boxes)))


def cosines(a: Any, b: Any) -> np.ndarray:
    """Cosine of each row of `a` with the same row of `b`, in float64."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.asarray((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))

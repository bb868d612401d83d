"""Models of the real architectures and sizes with random weights, written as the hub has them.

The weights are drawn so that what goes through a layer keeps its size, and biases are zero: the vectors of unlike
pictures are then unlike, which a cosine between two precisions needs in order to say anything.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parent / "embeddings_dagster" / "bundled"
DONE = "complete"


@dataclass(frozen=True)
class Architecture:
    """`kind` as in the settings; `config` makes transformers' configuration; None: it is bundled, with its weights."""

    title: str
    kind: str
    config: Callable[[], Any] | None
    image_size: int = 224


def _clip(text: dict[str, int] | None = None, **vision: int) -> Callable[[], Any]:
    """CLIP as OpenAI published it, but for the words, which are few."""

    def config() -> Any:
        from transformers import CLIPConfig

        common = {"projection_dim": 768} if vision.get("hidden_size") == 1024 else {}
        return CLIPConfig(text_config={**WORDS, **common, **(text or {})}, vision_config={**vision, **common}, **common)

    return config


def _dino(**changes: int) -> Callable[[], Any]:
    """DINOv2 as Meta published it: positions for 518 pixels, interpolated for pictures of 224."""

    def config() -> Any:
        from transformers import Dinov2Config

        return Dinov2Config(**changes)

    return config


WORDS = {"vocab_size": 12, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
         "image_size": 224, "patch_size": 14}  # fmt: skip
NEXT_TO_NOTHING = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
                   "patch_size": 16}  # fmt: skip
NARROW = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}

MODELS = {
    "clip": Architecture("CLIP ViT-B/32", "clip", _clip()),
    "dino": Architecture("DINOv2-S", "dino", _dino(**SMALL)),
    "clip_l14": Architecture("CLIP ViT-L/14", "clip", _clip(**LARGE)),
    "bundled_clip": Architecture("bundled CLIP", "clip", None),
    "bundled_dino": Architecture("bundled DINOv2", "dino", None),
    "trivial": Architecture("a DINOv2 of one layer", "dino", _dino(**NEXT_TO_NOTHING), 32),
    "trivial_clip": Architecture(
        "a CLIP of one layer", "clip", _clip(NARROW, **NEXT_TO_NOTHING, intermediate_size=48), 32
    ),
}


def model_folder(work: Path, name: str, *, write: bool = False) -> Path:
    """Where the model lies, under `work` or in the package; with `write`, it is written if it is not there."""
    architecture = MODELS[name]
    if architecture.config is None:
        return BUNDLED / architecture.kind
    folder = work / "models" / name
    if write and not (folder / DONE).exists():
        _write(folder, architecture)
        (folder / DONE).touch()
    return folder


def _write(folder: Path, architecture: Architecture) -> None:
    import torch
    from transformers import CLIPModel, Dinov2Model

    sys.path.insert(0, str(HERE.parent))
    from embeddings_dagster_tests.encoders.tiny import save_processor, save_tokenizer

    clip = architecture.kind == "clip"
    assert architecture.config is not None
    with torch.device("meta"):  # transformers' own start takes long
        network = (CLIPModel if clip else Dinov2Model)(architecture.config())
    network = network.to_empty(device="cpu")
    _fill(network)
    network.save_pretrained(folder)
    save_processor(folder, "CLIPImageProcessor" if clip else "BitImageProcessor", architecture.image_size)
    if clip:
        save_tokenizer(folder)


def _fill(network: Any) -> None:
    """Norms and scales are one, biases zero, all else is normal with a variance of one over the inputs."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(0 if name.endswith("bias") else 1)
        for buffer in network.buffers():
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))  # the numbers of positions

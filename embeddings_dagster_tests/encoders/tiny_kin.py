"""Kin of CLIP and DINOv2, tiny and of random weights, each with a tokenizer and a processor of the kind it has."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders.tiny import BOS, EOS, PAD, SIZE, WORDS, save_processor, save_tokenizer

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SMALL, "image_size": SIZE, "patch_size": 16}
TEXT = {
    **SMALL,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 12,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
SENTENCES = [
    "a red heart on a blue face",
    "the dog likes pizza and the cat does not",
    "hello world, it is 5 o'clock tea",
]


def _parts(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"text_config": {**TEXT, **(text or {})}, "vision_config": {**VISION, **(vision or {})}}


def align() -> Any:
    """Its pictures go through convolutions, whose last has as many channels as its vectors have numbers."""
    from transformers import AlignConfig

    last_convolution = {"in_channels": [32, 8], "out_channels": [8, 24], "strides": [2, 2], "expand_ratios": [1, 2]}
    blocks = {**last_convolution, "kernel_sizes": [3, 3], "num_block_repeats": [1, 1], "depthwise_padding": []}
    scaled = {"image_size": SIZE, "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 24}
    return AlignConfig(text_config=TEXT, vision_config={**scaled, **blocks}, projection_dim=24)


def altclip() -> Any:
    from transformers import AltCLIPConfig

    return AltCLIPConfig(**_parts({"project_dim": 32, "max_position_embeddings": 12 + PAD + 1}), projection_dim=24)


def blip() -> Any:
    from transformers import BlipConfig

    return BlipConfig(**_parts({"encoder_hidden_size": 32}), projection_dim=24)


def chinese_clip() -> Any:
    from transformers import ChineseCLIPConfig

    return ChineseCLIPConfig(**_parts(), projection_dim=24)


def clipseg() -> Any:
    from transformers import CLIPSegConfig

    return CLIPSegConfig(**_parts(), projection_dim=24, extract_layers=[0, 1])


def groupvit() -> Any:
    from transformers import GroupViTConfig

    groups = {"depths": [1, 1, 1], "num_group_tokens": [8, 4, 0], "num_output_groups": [8, 4, 0]}
    return GroupViTConfig(**_parts(vision=groups), projection_dim=24, projection_intermediate_dim=40)


def metaclip_2() -> Any:
    from transformers import MetaClip2Config

    return MetaClip2Config(**_parts(), projection_dim=24)


def siglip() -> Any:
    from transformers import SiglipConfig

    return SiglipConfig(**_parts({"vocab_size": 64, "projection_size": 32}))


def dual_encoder() -> Any:
    from transformers import BertConfig, CLIPVisionConfig, VisionTextDualEncoderConfig

    vision, text = CLIPVisionConfig(**VISION), BertConfig(**TEXT)
    return VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)


def dinov2_with_registers() -> Any:
    from transformers import Dinov2WithRegistersConfig

    return Dinov2WithRegistersConfig(**VISION, mlp_ratio=2, num_register_tokens=4)


def dinov3_vit() -> Any:
    from transformers import DINOv3ViTConfig

    return DINOv3ViTConfig(**VISION, num_register_tokens=4)


def vit() -> Any:
    from transformers import ViTConfig

    return ViTConfig(**VISION)


CLIP_KIN: dict[str, Callable[[], Any]] = {
    "align": align,
    "altclip": altclip,
    "blip": blip,
    "chinese_clip": chinese_clip,
    "clipseg": clipseg,
    "groupvit": groupvit,
    "metaclip_2": metaclip_2,
    "siglip": siglip,
    "vision-text-dual-encoder": dual_encoder,
}
DINO_KIN: dict[str, Callable[[], Any]] = {
    "dinov2_with_registers": dinov2_with_registers,
    "dinov3_vit": dinov3_vit,
    "vit": vit,
}


def save_clip_kin(folder: Path, model_type: str, *, seed: int = 0) -> ModelSettings:
    """A model of that type with random weights, its tokenizer with it."""
    config = CLIP_KIN[model_type]()
    save_network(folder, config, seed=seed)
    if model_type == "siglip":
        save_siglip_files(folder, config)
    else:
        save_processor(folder, "CLIPImageProcessor", SIZE)
        save_tokenizer(folder)
    return ModelSettings(kind="clip", model=str(folder))


def save_dino_kin(folder: Path, model_type: str, *, seed: int = 0) -> ModelSettings:
    """A model of that type with random weights."""
    save_network(folder, DINO_KIN[model_type](), seed=seed)
    save_processor(folder, "BitImageProcessor", SIZE)
    return ModelSettings(kind="dino", model=str(folder))


def save_siglip(folder: Path, config: Any = None, *, seed: int = 0) -> ModelSettings:
    """A SigLIP of any size with random weights, its tokenizer with it."""
    config = config or siglip()
    save_network(folder, config, seed=seed)
    save_siglip_files(folder, config)
    return ModelSettings(kind="clip", model=str(folder))


def full_siglip_config() -> Any:
    """SigLIP base patch16 224 as Google published it, but for the words, which are ours and few."""
    from transformers import SiglipConfig

    return SiglipConfig(text_config={"vocab_size": 64})


def save_network(folder: Path, config: Any, *, seed: int = 0) -> None:
    """Weights are filled in here: transformers' own start is slow, and gives all pictures much the same vector."""
    import torch
    from transformers import MODEL_MAPPING

    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        network = MODEL_MAPPING[type(config)](config)
    network = network.to_empty(device="cpu")
    wide = 0.05 if config_width(config) > 100 else 0.4
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            is_scale = parameter.ndim == 1 and not name.endswith("bias")  # of a norm
            parameter.uniform_(-wide, wide, generator=generator).add_(1 if is_scale else 0)
        for name, buffer in network.named_buffers():
            buffer.fill_(0.02 if name.endswith("running_var") else 0)
    network.half().save_pretrained(folder)


def config_width(config: Any) -> int:
    """The width of the layers of its picture side."""
    return int(getattr(getattr(config, "vision_config", config), "hidden_size", 0))


def save_siglip_files(folder: Path, config: Any) -> None:
    """The processor and the tokenizer of google/siglip-base-patch16-224: squashed pictures, and SentencePiece."""
    size, half = config.vision_config.image_size, [0.5, 0.5, 0.5]
    folder.mkdir(parents=True, exist_ok=True)
    picture = {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": half,
        "image_std": half,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(picture), encoding="utf-8")
    words = {
        "tokenizer_class": "SiglipTokenizer",
        "model_input_names": ["input_ids"],
        "model_max_length": config.text_config.max_position_embeddings,
        "pad_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "spiece.model").write_bytes(sentencepiece_model())


def save_gemma_tokenizer(folder: Path) -> None:
    """The tokenizer of SigLIP 2: Gemma's, whose pieces may span words, and which fills up on the left unless told."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.train_from_iterator(SENTENCES * 4, trainers.BpeTrainer(vocab_size=60, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{each}_token": f"<{each}>" for each in ("pad", "eos", "bos", "unk")}
    words = {"tokenizer_class": "GemmaTokenizer", "model_max_length": 64, "add_bos_token": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")


def sentencepiece_model() -> bytes:
    """A unigram model trained on a few sentences."""
    import sentencepiece

    model = io.BytesIO()
    numbers = {"bos_id": -1, "unk_id": 2, "eos_id": 1, "pad_id": 0}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **numbers,
    )
    return model.getvalue()

"""Figures of the exported models, read back from their folders as any user would, on held-out renderings.

The pictures are those of training; the renderings are not (other code, other seed). That is what the figures mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import MIN_CARRIERS
from emoji_data import Emoji
from PIL import Image, ImageOps
from renderings import held_out, upright
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, Dinov2Model

WATCHED_SEED = 20_260_001  # the renderings looked at while the training was being tuned
SEED = 20_270_001  # those of the published figures
TARGETS = {"text_to_image_r1": 0.78, "text_to_image_r10": 0.98, "keyword_precision10": 0.62}

Encode = Callable[[Sequence[Image.Image]], torch.Tensor]


def clip_encoders(folder: Path) -> tuple[Encode, Callable[[Sequence[str]], torch.Tensor]]:
    """Functions from pictures and from texts to unit vectors (n, 128)."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    model.train(False)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def images(pictures: Sequence[Image.Image]) -> torch.Tensor:
        pixels = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    @torch.inference_mode()
    def texts(lines: Sequence[str]) -> torch.Tensor:
        tokens = tokenizer(list(lines), padding=True, truncation=True, return_tensors="pt")
        return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)

    return images, texts


def dino_encoder(folder: Path) -> Encode:
    """Function from pictures to unit vectors (n, 192): the class token."""
    model = Dinov2Model.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    model.train(False)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def images(pictures: Sequence[Image.Image]) -> torch.Tensor:
        pixels = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return F.normalize(model(pixel_values=pixels).last_hidden_state[:, 0], dim=-1)

    return images


def evaluate_clip(emoji: Sequence[Emoji], folder: Path) -> dict[str, float]:
    """Prints and returns recall of names, and precision of keywords carried by at least ten pictures."""
    images, texts = clip_encoders(folder)
    pictures = _in_batches(images, emoji, SEED)
    names = texts([item.name for item in emoji])
    figures = _recall("text_to_image", names @ pictures.T) | _recall("image_to_text", pictures @ names.T)
    keywords = common_keywords(emoji)
    top = (texts(list(keywords)) @ pictures.T).topk(10).indices.tolist()
    hits = [len(set(row) & carriers) / 10 for row, carriers in zip(top, keywords.values(), strict=True)]
    figures["keyword_precision10"] = float(np.mean(hits))
    print(f"clip: {len(emoji)} pictures, {len(keywords)} keywords carried by at least {MIN_CARRIERS} of them")
    return _show(figures)


def evaluate_dino(emoji: Sequence[Emoji], folder: Path) -> dict[str, float]:
    """Prints and returns how often a rendering finds the same picture, and how often neighbours share a keyword."""
    images = dino_encoder(folder)
    first, second = _in_batches(images, emoji, SEED), _in_batches(images, emoji, SEED + 1)
    plain = torch.cat([images([upright(item) for item in emoji[i : i + 256]]) for i in range(0, len(emoji), 256)])
    figures = _recall("rendering_to_rendering", first @ second.T) | _recall("rendering_to_plain", first @ plain.T)
    near = plain @ plain.T
    near.fill_diagonal_(-1)
    words = [set(item.keywords) for item in emoji]
    related = [np.mean([bool(words[i] & words[j]) for j in row]) for i, row in enumerate(near.topk(5).indices.tolist())]
    chance = np.mean([bool(words[i] & words[-1 - i]) for i in range(len(words))])
    figures |= {"neighbours_share_keyword": float(np.mean(related)), "chance_share_keyword": float(chance)}
    print(f"dino: {len(emoji)} pictures")
    return _show(figures)


def evaluate_queries(folder: Path, sample: Path) -> int:
    """Prints the rank of the best expected emoji of each sample query; returns how many are among the first three."""
    images, texts = clip_encoders(folder)
    paths = list(json.loads((sample / "labels.json").read_text(encoding="utf-8")))
    vectors = images([_over_white(sample / "emoji" / path) for path in paths])
    queries = json.loads((sample / "queries.json").read_text(encoding="utf-8"))
    found = 0
    for query, row in zip(queries, texts([query["query"] for query in queries]) @ vectors.T, strict=True):
        order = [paths[i] for i in row.argsort(descending=True).tolist()]
        expected = [each.removeprefix("emoji:") for each in query["expected"] if each.startswith("emoji:")]
        rank = 1 + min(order.index(path) for path in expected)
        found += rank <= 3
        print(f"  {query['query']:16} rank {rank:3}   {', '.join(order[:3])}")
    print(f"queries: {found} of {len(queries)} have their picture among the first three of {len(paths)}", flush=True)
    return found


def _over_white(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        upright_picture = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", upright_picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, upright_picture).convert("RGB")


def _in_batches(encode: Encode, emoji: Sequence[Emoji], seed: int, size: int = 256) -> torch.Tensor:
    """Vectors of one held-out rendering of each picture."""
    rng = np.random.default_rng(seed)
    rows = [encode([held_out(item, rng) for item in emoji[i : i + size]]) for i in range(0, len(emoji), size)]
    return torch.cat(rows)


def _recall(name: str, similarity: torch.Tensor) -> dict[str, float]:
    """Share of rows whose own column is first, and among the first ten."""
    own = similarity.diagonal()[:, None]
    rank = (similarity > own).sum(1)
    return {f"{name}_r1": (rank < 1).float().mean().item(), f"{name}_r10": (rank < 10).float().mean().item()}


def common_keywords(emoji: Sequence[Emoji]) -> dict[str, set[int]]:
    """Keyword -> indices of the pictures that carry it, for keywords carried by at least ten."""
    carriers: dict[str, set[int]] = {}
    for i, item in enumerate(emoji):
        for keyword in item.keywords:
            carriers.setdefault(keyword, set()).add(i)
    return {keyword: found for keyword, found in sorted(carriers.items()) if len(found) >= MIN_CARRIERS}


def _show(figures: dict[str, float]) -> dict[str, float]:
    for name, value in figures.items():
        target = TARGETS.get(name, 0.0)
        verdict = f"  (target {target}: {'met' if value >= target else 'MISSED'})" if target else ""
        print(f"  {name:26} {value:.4f}{verdict}", flush=True)
    return figures

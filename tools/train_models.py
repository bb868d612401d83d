"""Trains the bundled CLIP and DINOv2 on the emoji of Noto Color Emoji, and exports them in Hugging Face format.

One command makes both, from the two Debian packages fonts-noto-color-emoji and unicode-cldr-core:

    python tools/train_models.py
    python tools/train_models.py --evaluate          # the figures of what is shipped

Training runs on two CPU cores (bfloat16 where the CPU has it, float32 weights), writes a checkpoint every 100 steps to
`--work`, and continues from it when started again. All randomness derives from `--seed` and the step number.

CLIP: pictures against names by its usual loss (Radford et al. 2021, arXiv:2103.00020), and words and keywords against
every picture of the batch that carries them. DINOv2's architecture: two renderings of a picture against those of others
(Chen et al. 2020, arXiv:2002.05709), without any words. After the first steps half a batch are look-alikes of the rest.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from captions import Captions, build_tokenizer, drop_words
from emoji_data import Emoji, add_arguments, load_emoji
from evaluate_models import SEED, WATCHED_SEED, common_keywords, evaluate_clip, evaluate_dino, evaluate_queries
from export_models import CLIP_MEAN, CLIP_STD, DINO_MEAN, DINO_STD, clip_config, dino_config, export_clip, export_dino
from model_cards import write_card
from renderings import Renderer
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPModel, Dinov2Model

ROOT = Path(__file__).resolve().parent.parent
BUNDLED, SAMPLE = ROOT / "embeddings_dagster" / "bundled", ROOT / "data" / "sample"
CHECKPOINT_EVERY, EXPORT_EVERY, LOG_EVERY = 100, 500, 50
EMA, WARMUP, MAX_SCALE = 0.998, 100, 100.0
HARD_FROM, NEIGHBOURS = 400, 8
WORDS_FROM, NAMES_FIRST, WORDS_TOO = 1100, (0.5, 0.0), (2.0, 0.5)  # (weight of words, share of common keywords)
KEYWORDS_FROM, RESTART_RATE = 1600, 0.6


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train: `first` steps of decay, cut short at `restart` (0: never), `steps` in all."""

    steps: int
    first: int
    restart: int
    batch: int
    rate: float
    seed: int
    work: Path


class Loss(nn.Module):
    """A loss that draws its own renderings; called with (picture indices, step).

    `memory` (pictures, D) keeps the latest embedding of each picture. It only chooses which pictures share a batch.
    """

    memory: torch.Tensor

    def __init__(self, model: nn.Module, renderer: Renderer, count: int, width: int, seed: int) -> None:
        super().__init__()
        self.model, self.renderer, self.seed = model, renderer, seed
        self.register_buffer("memory", torch.zeros(count, width))

    def generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + step)


class ClipLoss(Loss):
    """Name <-> picture, and words -> all pictures of the batch that carry them."""

    def __init__(self, model: CLIPModel, renderer: Renderer, captions: Captions, count: int, seed: int) -> None:
        super().__init__(model, renderer, count, int(model.config.projection_dim or 0), seed)
        self.captions = captions
        self.keywords, self.carried = captions.common()
        self.word_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def clip(self) -> CLIPModel:
        return cast(CLIPModel, self.model)

    def forward(self, chosen: torch.Tensor, step: int) -> torch.Tensor:
        g, rng = self.generator(step), np.random.default_rng([self.seed, step])
        names = drop_words(self.captions.names(chosen.numpy(), rng), g)
        weight, common_share = NAMES_FIRST if step < WORDS_FROM else WORDS_TOO
        words, fits = self.captions.words(chosen.numpy(), rng, common_share)
        with torch.autocast("cpu", torch.bfloat16):
            image = self.clip.get_image_features(pixel_values=self.renderer(chosen, g)).pooler_output
            texts = (names, words, *([self.keywords] if step >= KEYWORDS_FROM else []))
            text = [self.clip.get_text_features(input_ids=ids).pooler_output for ids in texts]
        image, name, word, *keyword = (F.normalize(v.float(), dim=-1) for v in (image, *text))
        everything = self.memory.index_copy(0, chosen, image)
        self.memory = everything.detach()
        logits = self.clip.logit_scale.clamp(max=math.log(MAX_SCALE)).exp() * name @ image.T
        own = torch.arange(len(chosen))
        by_word = self.word_scale.clamp(max=math.log(MAX_SCALE)).exp() * word @ image.T
        fits = F.normalize(fits[:, chosen], p=1, dim=1)
        total = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own) + weight * F.cross_entropy(by_word, fits)
        return total + self._by_keyword(keyword[0], everything, image, chosen) if keyword else total

    def _by_keyword(
        self, keywords: torch.Tensor, everything: torch.Tensor, image: torch.Tensor, chosen: torch.Tensor
    ) -> torch.Tensor:
        """Every common keyword against all pictures, and the batch's pictures against every common keyword."""
        scale = self.word_scale.clamp(max=math.log(MAX_SCALE)).exp()
        carriers = F.normalize(self.carried.T, p=1, dim=1)
        found = F.cross_entropy(scale * keywords @ everything.T, carriers)
        carried = self.carried[chosen]
        some = carried.sum(1) > 0
        named = F.cross_entropy(scale * image[some] @ keywords.T, F.normalize(carried[some], p=1, dim=1))
        return found + named


class DinoLoss(Loss):
    """Two renderings of each picture: which of the batch's others is the same picture? No words."""

    def __init__(self, model: Dinov2Model, renderer: Renderer, count: int, seed: int) -> None:
        super().__init__(model, renderer, count, model.config.hidden_size, seed)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.1)))

    def forward(self, chosen: torch.Tensor, step: int) -> torch.Tensor:
        chosen = chosen[: len(chosen) // 2]
        with torch.autocast("cpu", torch.bfloat16):
            views = self.renderer(torch.cat([chosen, chosen]), self.generator(step))
            token = self.model(pixel_values=views).pooler_output
        first, second = F.normalize(token.float(), dim=-1).chunk(2)
        self.memory[chosen] = second.detach()
        logits = self.scale.clamp(max=math.log(MAX_SCALE / 4)).exp() * first @ second.T
        own = torch.arange(len(chosen))
        return F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)


def train(name: str, loss: Loss, plan: Plan, export: Callable[[nn.Module], None]) -> nn.Module:
    """Trains `loss.model`; returns it with its averaged (EMA) weights. Continues from the checkpoint in `plan.work`."""
    file = plan.work / f"{name}.pt"
    decay = [p for p in loss.parameters() if p.ndim > 1]
    keep = [p for p in loss.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": keep, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    average = AveragedModel(loss.model, multi_avg_fn=get_ema_multi_avg_fn(EMA))  # type: ignore[no-untyped-call]
    step = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        loss.load_state_dict(state["loss"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    started, mean = time.monotonic(), 0.0
    loss.train()
    while step < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _decay(step, plan)
        value = loss(_batch(loss.memory, plan, step), step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(loss.model)
        step += 1
        mean += (value.item() - mean) / (step if step < LOG_EVERY else LOG_EVERY)
        if step % LOG_EVERY == 0:
            print(f"{name} step {step}/{plan.steps} loss {mean:.3f} {time.monotonic() - started:.0f} s", flush=True)
        if step % CHECKPOINT_EVERY == 0 or step == plan.steps:
            state = {"loss": loss.state_dict(), "average": average.state_dict(), "step": step}
            torch.save({**state, "optimizer": optimizer.state_dict()}, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
        if step % EXPORT_EVERY == 0:
            export(average.module)
    return average.module


def _decay(step: int, plan: Plan) -> float:
    """Warm-up and cosine decay; a plan with a restart then decays once more, from a lower rate (arXiv:1608.03983)."""
    if plan.restart and step >= plan.restart:
        return RESTART_RATE * (0.5 + 0.5 * math.cos(math.pi * (step - plan.restart) / (plan.steps - plan.restart)))
    return min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / (plan.first or plan.steps)))


def _batch(memory: torch.Tensor, plan: Plan, step: int) -> torch.Tensor:
    """Distinct picture indices (at most batch,): a run of a shuffled epoch; once warm, each followed by a look-alike.

    The look-alike is one of its eight nearest in `memory`: telling those apart is what is left to learn.
    """
    count = len(memory)
    seeds = plan.batch if step < HARD_FROM else plan.batch // 2
    per_epoch = count // seeds
    order = np.random.default_rng([plan.seed, 7, step // per_epoch]).permutation(count)
    start = step % per_epoch * seeds
    chosen = torch.from_numpy(order[start : start + seeds].copy())
    if step < HARD_FROM:
        return chosen
    g = torch.Generator().manual_seed(plan.seed * 7_000_003 + step)
    similar = memory[chosen] @ memory.T
    similar[:, chosen] = -2
    near = similar.topk(NEIGHBOURS).indices
    pick = near.gather(1, torch.randint(NEIGHBOURS, (seeds, 1), generator=g))[:, 0]
    return torch.stack([chosen, pick], 1)[_first_of_each(pick)].flatten()


def _first_of_each(values: torch.Tensor) -> torch.Tensor:
    """Mask of the positions where a value occurs for the first time."""
    _, first = np.unique(values.numpy(), return_index=True)
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[torch.from_numpy(first)] = True
    return mask


def train_clip(emoji: list[Emoji], plan: Plan, out: Path) -> None:
    """Trains and exports the CLIP, early versions of it too."""
    torch.manual_seed(plan.seed)
    tokenizer = build_tokenizer(emoji)
    model = CLIPModel(clip_config(len(tokenizer)))
    renderer = Renderer(emoji, CLIP_MEAN, CLIP_STD, colour=False)
    loss = ClipLoss(model, renderer, Captions(emoji, tokenizer), len(emoji), plan.seed)
    export_clip(train("clip", loss, plan, lambda m: export_clip(m, tokenizer, out)), tokenizer, out)


def train_dino(emoji: list[Emoji], plan: Plan, out: Path) -> None:
    """Trains and exports the DINOv2, early versions of it too."""
    torch.manual_seed(plan.seed)
    renderer = Renderer(emoji, DINO_MEAN, DINO_STD, colour=True)
    loss = DinoLoss(Dinov2Model(dino_config()), renderer, len(emoji), plan.seed)
    export_dino(train("dino", loss, plan, lambda m: export_dino(m, out)), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--out", type=Path, default=BUNDLED, help="where clip/ and dino/ are written")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "data" / "emoji-models", help="checkpoints to continue from"
    )
    parser.add_argument("--only", choices=("clip", "dino"), help="train one of the two")
    parser.add_argument("--clip-steps", type=int, default=2150)
    parser.add_argument("--dino-steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate", action="store_true", help="train nothing, print the figures of what is in --out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    emoji = load_emoji(options.font, options.cldr)
    schedule = {"clip": (options.clip_steps, 2200, KEYWORDS_FROM), "dino": (options.dino_steps, 800, 800)}
    trainers = {"clip": train_clip, "dino": train_dino}
    evaluations = {"clip": evaluate_clip, "dino": evaluate_dino}
    for name in [options.only] if options.only else ["clip", "dino"]:
        plan = Plan(*schedule[name], options.batch, options.rate, options.seed, options.work)
        if not options.evaluate:
            options.work.mkdir(parents=True, exist_ok=True)
            trainers[name](emoji, plan, options.out / name)
        figures = evaluations[name](emoji, options.out / name)
        if not options.evaluate:
            counts = {"pictures": len(emoji), "keywords": len(common_keywords(emoji))}
            write_card(options.out / name, name, figures, counts, _made(plan))
        if name == "clip":
            evaluate_queries(options.out / name, SAMPLE)


def _made(plan: Plan) -> dict[str, object]:
    """What the model card says of the training."""
    made: dict[str, object] = {key: value for key, value in asdict(plan).items() if key != "work"}
    command = f"python tools/train_models.py --seed {plan.seed}"
    return made | {"command": command, "ema": EMA, "watched": WATCHED_SEED, "seed_of_figures": SEED}


if __name__ == "__main__":
    main()

"""The model cards (README.md) of the bundled models, written with the figures just measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HEAD = """# {title}

{what}

**What the figures mean.** The model was trained on these very {count} pictures: the emoji of Noto Color Emoji. The
figures are on *renderings* of them that it has not seen (turned up to 15 degrees, scaled 0.7 to 1, shifted, over white
or a plain colour, darker or brighter; another seed and other code than in training). They say nothing about
photographs, drawings, or any picture that is not one of these emoji. The model is here so that the demo and the tests
run offline on real vectors. For your own pictures, name a real model in the settings.

| on held-out renderings | |
|---|---|
{figures}

Measured on the shipped float16 weights, loaded as float32.

{notes}

## How it was made

    {command}

Seed {seed}, {steps} steps of {batch} renderings, AdamW at {rate} with cosine decay, averaged weights (EMA {ema}), on
two CPU cores. `python tools/train_models.py --evaluate` prints the figures again.

The shipped weights come from a run that was stopped and continued from its checkpoints. The later stages of the
schedule (`train_models.py` names their steps) were added while it ran, after a look at figures on renderings of seed
{watched}. {history}
The command does the same steps in one go. It has not been repeated from scratch, so how far its figures would differ
is not known.

## Licences

- Pictures: Noto Color Emoji, copyright Google Inc., SIL Open Font License 1.1 (Debian `fonts-noto-color-emoji`).
- Words: Unicode CLDR annotations, copyright Unicode, Inc., Unicode licence (Debian `unicode-cldr-core`).
- The texts of both are in `data/sample/LICENSE`. No other data went in, and no other model's weights.
"""

CLIP_WHAT = """\
A small CLIP, image and text, in Hugging Face format: 64-pixel pictures in patches of 16, 4 layers of 256; texts of up
to 18 words from a vocabulary of English emoji names and keywords, 2 layers of 128; 128 dimensions."""
CLIP_NOTES = """\
Text to image: the emoji's name against one rendering of each picture. Keyword precision: the share of the first ten
pictures that carry the keyword, over the {keywords} keywords carried by at least ten pictures.
The tokenizer knows whole words, in lower case, without accents or punctuation; all others are one unknown word."""
DINO_WHAT = """\
A small vision transformer of DINOv2's architecture (`Dinov2Model`), in Hugging Face format: 64-pixel pictures in
patches of 16, 4 layers of 192. The class token is the embedding: 192 dimensions. Trained without words or labels, by
telling a picture's renderings from those of others (the architecture is DINOv2's, the training recipe is not)."""
DINO_NOTES = """\
Rendering to rendering: one rendering of a picture finds another among all. To plain: it finds the picture as it is,
over white. Neighbours: how often the five nearest others share a keyword with it, and how often a random pair does."""
CLIP_HISTORY = "The table is on seed {seed_of_figures}, first used when the training was over."
DINO_HISTORY = """\
The table is on seed {seed_of_figures}, looked at once before the end (step 1,500); nothing was changed
after that. The training ended where the time for it did, while its figures were still rising."""


def write_card(
    folder: Path, name: str, figures: Mapping[str, float], counts: Mapping[str, int], made: Mapping[str, object]
) -> None:
    """Writes `folder`/README.md; `counts` has pictures and keywords, `made` command, seed, steps, batch, rate, ema."""
    title, what, notes, history = {
        "clip": ("Bundled CLIP", CLIP_WHAT, CLIP_NOTES.format(keywords=counts["keywords"]), CLIP_HISTORY),
        "dino": ("Bundled DINOv2", DINO_WHAT, DINO_NOTES, DINO_HISTORY),
    }[name]
    rows = "\n".join(f"| {figure.replace('_', ' ')} | {value:.3f} |" for figure, value in figures.items())
    history = history.format(**made)
    card = HEAD.format(
        title=title, what=what, notes=notes, history=history, figures=rows, count=counts["pictures"], **made
    )
    (folder / "README.md").write_text(card, encoding="utf-8")

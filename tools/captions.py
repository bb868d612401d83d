"""Captions for the bundled CLIP: the word tokenizer, and training texts with the pictures each of them fits.

A caption comes with a target: a distribution over all pictures. A full name fits its picture alone; a keyword, or some
words of a name, fits every picture that carries them. So the model learns both "pizza" and "everything yellow".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from emoji_data import Emoji
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 20
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNK, BOS, EOS = range(4)
TEMPLATES = (
    "a {}",
    "the {}",
    "an emoji of a {}",
    "a picture of a {}",
    "a photo of {}",
    "{} emoji",
    "an image of the {}",
)
TEMPLATE_SHARE, LONG_SHARE, UNKNOWN_SHARE = 0.15, 0.1, 0.02
KEYWORD_SHARE, MIN_CARRIERS = 0.6, 10
NAME_WEIGHT = 3.0
APOSTROPHE = "\u2019"


def build_tokenizer(emoji: Sequence[Emoji]) -> PreTrainedTokenizerFast:
    """Whole words, lower case, accents and punctuation dropped; most frequent word first, so the order is stable."""
    normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\p{L}\p{N}\s#*]"), " "),
        ]
    )
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")])
    counts: Counter[str] = Counter()
    for text in [*TEMPLATES, *(word for item in emoji for word in (item.name, *item.keywords))]:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text.replace("{}", ""))))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token=SPECIAL[UNK]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[PAD],
        unk_token=SPECIAL[UNK],
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[EOS],
        model_max_length=MAX_TOKENS,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )


class Captions:
    """Draws captions and targets for batches of pictures; all randomness comes from the caller's generator."""

    def __init__(self, emoji: Sequence[Emoji], tokenizer: PreTrainedTokenizerFast) -> None:
        self._names = [item.name for item in emoji]
        self._keywords = [item.keywords or (item.name,) for item in emoji]
        self._tokenizer = tokenizer
        self._carriers: dict[str, list[int]] = {}
        self._in_name = np.zeros((len(emoji), len(tokenizer)), dtype=bool)
        self._in_words = np.zeros_like(self._in_name)
        for i, item in enumerate(emoji):
            for keyword in self._keywords[i]:
                self._carriers.setdefault(keyword, []).append(i)
            self._in_name[i, self._ids(item.name)] = True
            self._in_words[i, self._ids(" ".join((item.name, *item.keywords)))] = True
        self._common = [
            [keyword for keyword in keywords if len(self._carriers[keyword]) >= MIN_CARRIERS]
            for keywords in self._keywords
        ]
        self._words = [np.flatnonzero(row) for row in self._in_words]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def names(self, pictures: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Token ids (B, L): the pictures' names, some in a template; in few batches, keywords follow some of them."""
        texts, long = [], rng.random() < LONG_SHARE
        for i in pictures:
            text = self._names[i]
            if rng.random() < TEMPLATE_SHARE:
                text = TEMPLATES[rng.integers(len(TEMPLATES))].format(text)
            elif long and rng.random() < 0.5:
                text = " ".join([text, *rng.permutation(self._keywords[i])])
            texts.append(text)
        return self._encode(texts)

    def words(
        self, pictures: np.ndarray, rng: np.random.Generator, common_share: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (B, L) of a keyword or of one to three words per picture; targets (B, pictures), rows sum to 1.

        `common_share` is how often a keyword of many pictures is taken, where the picture has one.
        """
        texts, targets = [], np.zeros((len(pictures), len(self._names)), dtype=np.float32)
        for row, i in enumerate(pictures):
            draw = rng.random()
            if draw < KEYWORD_SHARE:
                keyword = self._keywords[i][rng.integers(len(self._keywords[i]))]
                if draw < common_share and self._common[i]:
                    rarity = np.array([1 / len(self._carriers[word]) for word in self._common[i]])
                    keyword = self._common[i][rng.choice(len(rarity), p=rarity / rarity.sum())]
                targets[row, self._carriers[keyword]] = 1
                texts.append(keyword)
            else:
                chosen = rng.permutation(self._words[i])[: rng.integers(1, 4)]
                fits, named = self._in_words[:, chosen].all(1), self._in_name[:, chosen].all(1)
                targets[row] = fits + (NAME_WEIGHT - 1) * named
                texts.append(self._tokenizer.decode(chosen))
        targets /= targets.sum(1, keepdims=True)
        return self._encode(texts), torch.from_numpy(targets)

    def common(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (K, L) of the keywords carried by at least ten pictures; who carries them (pictures, K)."""
        keywords = sorted(word for word, carriers in self._carriers.items() if len(carriers) >= MIN_CARRIERS)
        carried = torch.zeros(len(self._names), len(keywords))
        for column, keyword in enumerate(keywords):
            carried[self._carriers[keyword], column] = 1
        return self._encode(keywords), carried

    def _encode(self, texts: list[str]) -> torch.Tensor:
        encoded = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        ids: torch.Tensor = encoded["input_ids"]
        return ids


def drop_words(ids: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Replaces a few words by the unknown one, so that a word never seen does not upset the rest."""
    drop = (torch.rand(ids.shape, generator=generator) < UNKNOWN_SHARE) & (ids > EOS)
    return ids.masked_fill(drop, UNK)


def plain(text: str) -> str:
    """A name as a file name: lower case words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace(APOSTROPHE, "").replace("ñ", "n")).strip("-")

"""Texts to what a model reads: tokens, cut at the model's limit; and long texts to chunks that are within it.

No chunk boundary loses or repeats a character that is not whitespace.
"""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embeddings_dagster.encoders.families import Family, family_of
from embeddings_dagster.encoders.runtime import runtime
from embeddings_dagster.errors import MissingExtra, ModelError

# Where a sentence may end: before whitespace (behind closing quotes too), before a new line, or, in writing that has no
# spaces, behind its full stop. Where a word may: before whitespace, or behind a comma of such writing.
SENTENCE_END = re.compile(r"(?<=[.!?…])(?=\s)|(?<=[.!?…][\"'”’»)\]])(?=\s)|(?<=\S)(?=\s*\n)|(?<=[。！？])")
WORD_END = re.compile(r"(?<=\S)(?=\s)|(?<=[、，；：。！？])")
BLANK = re.compile(r"\s*")

CHARACTERS_A_TOKEN = 4  # about, in English; only where the search for the first boundary starts
STEPS_BY_PROPORTION = 3

OLD_END = 2

# Half of a pair of UTF-16, as broken JSON and file names have them: no tokenizer takes it.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# Text models whose positions are counted from behind the padding's number, by the `model_type` of their part.
_FOLLOW_PADDING = {"altclip_text_model", "camembert", "roberta", "xlm-roberta", "xlm-roberta-xl"}


class Tokens:
    """A model's tokenizer, as the model wants it used. Safe to share among threads.

    `limit` is how many tokens a text may have, those included that stand for its start and end.
    """

    def __init__(self, tokenizer: Any, config: Any, name: str) -> None:
        """For the network of `config` (its own, as transformers reads config.json), called `name` in messages.

        Raises:
            ModelError: the tokenizer is not the one it was trained with.
        """
        text = getattr(config, "text_config", config)
        self._tokenizer, self.name = tokenizer, name
        self._family = family_of("clip", config.model_type, name)
        self._vocabulary = int(text.vocab_size)
        self._lock = threading.Lock()  # padding and truncation are its state: two threads at once raise
        if tokenizer.pad_token_id is None:
            raise ModelError(f"the tokenizer of the model {name!r} has no padding token; set pad_token in its files")
        self.limit = min(int(tokenizer.model_max_length), _positions(text))
        empty = self._ids("")
        _check_tokenizer(name, self._family, text, empty)
        self._frame = len(empty)
        if self._frame >= self.limit:
            raise ModelError(
                f"the model {name!r} reads {self.limit} tokens, and {self._frame} of them stand for start and end: "
                "nothing of a text would be left; correct model_max_length or max_position_embeddings in its files"
            )

    def inputs(self, texts: Sequence[str]) -> dict[str, Any]:
        """Tensors (n, tokens) int64 for `get_text_features`, on the CPU; what is past the limit is cut off.

        Raises:
            ModelError: the tokenizer knows words that the network does not.
        """
        fills_up = self._family.fills_up
        with self._lock:
            encoded = self._tokenizer(
                [_readable(text) for text in texts],
                padding="max_length" if fills_up else True,
                padding_side="right",  # where positions count, on the left a text's vector would depend on its batch
                truncation=True,
                max_length=self.limit,
                return_attention_mask=not fills_up,
                return_tensors="pt",
            )
        ids = encoded["input_ids"]
        if len(texts) and int(ids.max()) >= self._vocabulary:
            raise ModelError(
                f"the tokenizer of the model {self.name!r} does not fit it: it gives the token {int(ids.max())} of "
                f"{self._vocabulary}; take all its files from one place"
            )
        return {"input_ids": ids} if fills_up else {"input_ids": ids, "attention_mask": encoded["attention_mask"]}

    def chunks(self, text: str) -> list[tuple[str, int]]:
        """`text` in pieces that are each within the limit, each with the number of its tokens, at least 1.

        One that is within the limit comes back as it is. A longer one is cut where a sentence ends, else between two
        words, else, where a word is too long, within it; whitespace at the cuts is dropped. A piece may be past the
        limit only if it is a single character.
        """
        whole = self._count(text)
        if whole <= self.limit:
            return [(text, self._own(whole))]
        text = text.strip()
        found, start, size = [], 0, self.limit * CHARACTERS_A_TOKEN
        while start < len(text):
            end, tokens = self._cut(text, start, start + size)
            found.append((text[start:end], self._own(tokens)))
            size = (end - start) * 5 // 4 + 1  # the next one is likely about as long
            start = _behind_blank(text, end)
        return found or [("", 1)]

    def _cut(self, text: str, start: int, end: int) -> tuple[int, int]:
        """Where the chunk from `start` ends, and its tokens; the search starts at `end`, and costs but a few steps."""
        end = self._within_limit(text, start, end)
        if end < len(text):
            sentence = _last(SENTENCE_END, text, start + (end - start) // 2, end)  # not for half a chunk
            for boundary in (sentence, _last(WORD_END, text, start, end)):
                if boundary is not None and (tokens := self._count(text[start:boundary])) <= self.limit:
                    return boundary, tokens
        return end, self._count(text[start:end])

    def _within_limit(self, text: str, start: int, end: int) -> int:
        """An end, about as far from `start` as the limit allows, wherever it falls: at least one character."""
        fits = start + 1
        end = min(end, len(text))
        while (tokens := self._count(text[start:end])) <= self.limit:
            if end == len(text):
                return end
            fits, end = end, min(start + 2 * (end - start), len(text))
        steps = 0
        while end > fits and tokens > self.limit:
            steps += 1
            size = end - start
            shorter = size * self.limit // tokens if steps <= STEPS_BY_PROPORTION else size // 2
            end = max(fits, start + shorter)
            tokens = self._count(text[start:end])
        return end

    def _own(self, tokens: int) -> int:
        return max(1, tokens - self._frame)

    def _count(self, text: str) -> int:
        return len(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        with self._lock:
            found = self._tokenizer(_readable(text), truncation=False, padding=False, verbose=False)
        return list(found["input_ids"])


def open_tokenizer(folder: Path, config: Any, name: str) -> Any:
    """The tokenizer of the model in `folder`, whose network is that of `config`, called `name` in messages.

    Raises:
        MissingExtra: it is one of SentencePiece's.
        ModelError: transformers cannot read it.
    """
    try:
        return runtime().transformers.AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the files may be anything, and transformers has no error of its own for that
        if isinstance(error, ImportError) and "sentencepiece" in str(error).lower():
            raise MissingExtra("siglip", "sentencepiece", f"the tokenizer of the model {name!r}") from error
        raise ModelError(
            f"the tokenizer of the model {name!r} in {str(folder)!r} cannot be read ({type(error).__name__}: {error}); "
            "take all its files from one place"
        ) from error


def _positions(text: Any) -> int:
    """How many tokens the text model of that configuration has positions for."""
    positions = int(text.max_position_embeddings)
    return positions - text.pad_token_id - 1 if text.model_type in _FOLLOW_PADDING else positions


def _check_tokenizer(name: str, family: Family, text: Any, empty: Sequence[int]) -> None:
    """Where the feature of a text is that of its end token, all texts would get the same vector without one.

    Older checkpoints say `eos_token_id` 2 whatever it is, and transformers takes the highest id instead.
    """
    end = text.eos_token_id if family.end_token else None
    no_end = end is not None and end not in empty and not (family.old_end and end == OLD_END)
    if max(empty, default=0) >= text.vocab_size or no_end:
        raise ModelError(
            f"the tokenizer of the model {name!r} does not fit it: an empty text becomes {list(empty)}, the end token "
            f"is {end} of {text.vocab_size}; take all its files from one place"
        )


def _readable(text: str) -> str:
    return LONE_SURROGATE.sub("\ufffd", text)


def _last(boundary: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    """The last boundary behind `start` and not behind `end`."""
    found = (each.start() for each in boundary.finditer(text, start, min(end + 1, len(text))))
    return max((each for each in found if start < each <= end), default=None)


def _behind_blank(text: str, start: int) -> int:
    blank = BLANK.match(text, start)
    return blank.end() if blank else start

"""What is said in a panel or on a page, in the many ways that old specs write it: dialogue, narration, sound effects.

Search and vectors get one plain text, a line a speech; the three kinds stay apart in the page's metadata.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from embeddings_dagster.sources.base import Plain
from embeddings_dagster.sources.lenient_json import clean, lowered

DIALOGUE, NARRATION, SFX = "dialogue", "narration", "sfx"
KINDS = (DIALOGUE, NARRATION, SFX)
# Captions and descriptions tell, they are not spoken.
KIND_OF = {"dialogue": DIALOGUE, "narration": NARRATION, "caption": NARRATION, "description": NARRATION, "sfx": SFX}
KIND_OF_SPEECH = (("narrat", NARRATION), ("caption", NARRATION), ("sfx", SFX), ("sound", SFX))
DEEPEST = 6  # levels of lists and objects in which a line is looked for


class Lines(NamedTuple):
    """The lines of a panel, of each kind in the order of the spec."""

    dialogue: tuple[str, ...] = ()
    narration: tuple[str, ...] = ()
    sfx: tuple[str, ...] = ()

    def text(self) -> str | None:
        """All lines, one below the other: what is spoken, what is told, what is heard. None where there are none."""
        return "\n".join((*self.dialogue, *self.narration, *self.sfx)) or None

    def plain(self) -> dict[str, Plain]:
        """As metadata and page specs hold them: all three kinds, an empty list where there is nothing."""
        return {kind: list(lines) for kind, lines in zip(KINDS, self, strict=True)}


def read_lines(holder: Mapping[str, object]) -> Lines:
    """The lines of a panel (or a page), from its `text`, its `speakers` and the keys of `KIND_OF`, in any case.

    A `text` that is a string, or a list, is dialogue. A line that was said in an earlier one of these places is the
    same line written twice, and is taken once.
    """
    found = _Found()
    keys = lowered(holder)
    text = keys.get("text")
    if isinstance(text, dict):
        found.take(lowered(text))
    else:
        found.add(DIALOGUE, text)
    found.take(keys)
    return Lines(*(tuple(found.lines[kind]) for kind in KINDS))


class _Found:
    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {kind: [] for kind in KINDS}

    def take(self, keys: Mapping[str, object]) -> None:
        for key, kind in KIND_OF.items():
            self.add(kind, keys.get(key))
        speakers = keys.get("speakers")
        spoken: dict[str, list[object]] = {}
        for speaker in speakers if isinstance(speakers, list) else [speakers]:
            if isinstance(speaker, dict):
                said = lowered(speaker)
                spoken.setdefault(_kind(said.get("speech_type")), []).append(said.get("dialogue") or said.get("text"))
            elif speaker:
                spoken.setdefault(DIALOGUE, []).append(speaker)
        for kind, values in spoken.items():
            self.add(kind, values)

    def add(self, kind: str, value: object) -> None:
        if value:
            before = set(self.lines[kind])
            self.lines[kind] += [line for line in _lines(value, DEEPEST) if line not in before]


def _kind(speech_type: object) -> str:
    named = str(speech_type).lower() if isinstance(speech_type, str) else ""
    return next((kind for part, kind in KIND_OF_SPEECH if part in named), DIALOGUE)


def _lines(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        line = clean(value).strip()
        if line:
            yield line
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, list) and depth:
        for each in value:
            yield from _lines(each, depth - 1)
    elif isinstance(value, dict) and depth:
        said = lowered(value)
        yield from _lines(said.get("dialogue") or said.get("text"), depth - 1)

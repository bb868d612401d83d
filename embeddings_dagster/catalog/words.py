"""What a person types to search for words, as a query that FTS5 cannot misread.

Words are looked for all together, in any order, whatever their case and accents. `"red jacket"` is a phrase, `jack*`
the beginning of a word, `-leather` must not occur. Everything else is text: no operator, column or bracket of FTS5's
own language gets through.
"""

import re
import unicodedata
from typing import NamedTuple

from embeddings_dagster.catalog.values import clean
from embeddings_dagster.errors import BadQuery

TERM = re.compile(r'(?P<without>-?)(?:"(?P<phrase>[^"]*)(?:"|$)|(?P<word>[^\s"]+))(?P<begins>\*?)')
MOST_TERMS = 100
MOST_CHARACTERS = 10_000


class Words(NamedTuple):
    """Queries for `match`: what must occur (empty: anything), and what must not (empty: nothing)."""

    wanted: str
    unwanted: str


def parse_words(text: str) -> Words:
    """The queries that a text means.

    Raises:
        BadQuery: there is no word in it, or too many.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadQuery(f"a text of {len(text):,} characters cannot be searched for; at most {MOST_CHARACTERS:,}")
    wanted: list[str] = []
    unwanted: list[str] = []
    for found in TERM.finditer(clean(text)):
        phrase = found["phrase"] if found["phrase"] is not None else found["word"]
        begins = bool(found["begins"]) or (found["phrase"] is None and phrase.endswith("*"))
        if has_word(phrase):
            quoted = '"' + phrase.replace('"', " ") + '"' + ("*" if begins else "")
            (unwanted if found["without"] else wanted).append(quoted)
    if not wanted and not unwanted:
        raise BadQuery(f"{text!r} has no word to search for: a letter or a digit at least")
    if len(wanted) + len(unwanted) > MOST_TERMS:
        raise BadQuery(f"{len(wanted) + len(unwanted)} words cannot be searched for at once; at most {MOST_TERMS}")
    return Words(" AND ".join(wanted), " OR ".join(unwanted))


def has_word(text: str) -> bool:
    """Whether the tokenizer finds a word: it takes letters, digits and characters of private use, as `unicode61`
    does."""
    return any(unicodedata.category(character)[0] in "LN" or "\ue000" <= character <= "\uf8ff" for character in text)

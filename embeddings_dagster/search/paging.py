"""Where a page of hits ends, as text that a program hands back to have the next one.

It names the question, the generations that answered it and the last hit. It is no secret and promises nothing but
that: whoever writes one by hand gets hits of the same indexes, or an error.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import Key
from embeddings_dagster.search.queries import MAX_HITS

CHECK = 8  # characters of a digest that tell a cursor that was cut or changed
LONGEST = 50_000
BROKEN = "`after` is not what a search gave as the place to go on from; ask from the first page"


@dataclass(frozen=True)
class Answered:
    """The generation of a model's index that answers."""

    model: str
    fp12: str
    generation: int


@dataclass(frozen=True)
class Cursor:
    """The end of a page. `first`: how many hits the first step of the ranking asked for; `seen`: hits up to here, the
    last of them `last`. `catalogue`: the generation of the records, where conditions are on them."""

    question: str
    answered: tuple[Answered, ...]
    catalogue: int | None
    first: int
    seen: int
    last: Key

    def __str__(self) -> str:
        answered = [[each.model, each.fp12, each.generation] for each in self.answered]
        values = [self.question, answered, self.catalogue, self.first, self.seen, self.last]
        body = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(_check(body) + body).decode().rstrip("=")


def parse_cursor(text: str) -> Cursor:
    """The cursor that was written as `text`.

    Raises:
        BadQuery: it is none.
    """
    try:
        if len(text) > LONGEST:
            raise BadQuery(BROKEN)
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        check, body = data[:CHECK], data[CHECK:]
        if check != _check(body):
            raise BadQuery(BROKEN)
        question, answered, catalogue, first, seen, last = json.loads(body)
        known = tuple(Answered(*each) for each in answered)
        cursor = Cursor(question, known, catalogue, first, seen, Key(*last))
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        raise BadQuery(BROKEN) from error
    if not _makes_sense(cursor):
        raise BadQuery(BROKEN)
    return cursor


def _makes_sense(cursor: Cursor) -> bool:
    texts = [
        cursor.question,
        cursor.last.image_id,
        *(name for each in cursor.answered for name in (each.model, each.fp12)),
    ]
    numbers = [each.generation for each in cursor.answered] + ([] if cursor.catalogue is None else [cursor.catalogue])
    counts = [cursor.first, cursor.seen]
    return (
        all(isinstance(each, str) for each in texts)
        and all(type(each) is int and each > 0 for each in (*numbers, *counts))
        and max(counts) <= MAX_HITS + 1
        and type(cursor.last.region) is int
    )


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:CHECK].encode()

"""A picture to what each model reads, decoded once; and what the models say of it back to an answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from embeddings_dagster.embedder.pictures import Boxes, Pictures, Source
from embeddings_dagster.embedder.results import Embedded, Failure, Vector, named
from embeddings_dagster.errors import EmptyRegion, ItemError
from embeddings_dagster.images import Box, clamp

if TYPE_CHECKING:
    from embeddings_dagster.encoders import Encoded, Encoder, Unit
    from embeddings_dagster.encoders.readiness import Ready


@dataclass(frozen=True)
class Prepared:
    """A picture ready for each model: `units` is empty where there is nothing to encode.

    `error` says why the whole picture has no vectors, `outside` which of its boxes, by position, have none.
    """

    units: "Mapping[str, Ready]" = field(default_factory=dict)
    error: Exception | None = None
    outside: Mapping[int, ItemError] = field(default_factory=dict)


def prepare(encoders: "Mapping[str, Encoder]", pictures: Pictures, source: Source, boxes: Boxes) -> Prepared:
    """Read, decode, and scale for each model.

    Raises:
        EmbeddingsError: what is wrong is not this picture's fault.
    """
    from embeddings_dagster.encoders.readiness import make_ready

    try:
        picture = pictures.decode(source, at_least=_enough(encoders.values(), boxes))
    except (ItemError, FileNotFoundError, TypeError) as error:
        return Prepared(error=error)
    outside = {at: _empty(box, picture) for at, box in enumerate(boxes) if box and _is_outside(box, picture)}
    if len(outside) == len(boxes):
        return Prepared(outside=outside)

    def decoded(data: bytes, *, at_least: int = 0) -> Image.Image:
        return picture

    inside = {at: box for at, box in enumerate(boxes) if at not in outside}
    units = {
        name: make_ready(encoder, _unit(source, inside, whole_image=encoder.whole_image), decoded)
        for name, encoder in encoders.items()
    }
    return Prepared(units, outside=outside)


def answer(
    source: Source,
    boxes: Boxes,
    models: Sequence[str],
    prepared: Prepared | None,
    encoded: "Mapping[str, Encoded]",
) -> Embedded:
    """What came of a picture; `encoded` has nothing where `prepared` had no units."""
    error = prepared.error if prepared is not None else None
    if error is not None:
        return Embedded(source, boxes, dict.fromkeys(models, (None,) * len(boxes)), (Failure(source, error),))
    outside = prepared.outside if prepared is not None else {}
    failures = [Failure(source, why, box=boxes[at]) for at, why in outside.items()]
    vectors = {}
    for name in models:
        found, why = _vectors(encoded[name]) if name in encoded else ({}, None)
        if why is not None:
            failures.append(Failure(source, why, model=name))
        left_out = encoded[name].left_out if name in encoded else {}
        for at, box in enumerate(boxes):
            if (reason := left_out.get(_region(at, box))) is not None:
                failures.append(Failure(source, reason, model=name, box=box))
        vectors[name] = tuple(found.get(_region(at, box)) for at, box in enumerate(boxes))
    return Embedded(source, boxes, vectors, tuple(failures))


def _enough(encoders: "Iterable[Encoder]", boxes: Boxes) -> int:
    """How long the short side must stay for all models; 0: the picture is not to be reduced. Boxes count its pixels."""
    needed = [encoder.enough for encoder in encoders]
    return max(needed) if all(needed) and not any(boxes) else 0


def _vectors(encoded: "Encoded") -> tuple[dict[int, Vector], ItemError | None]:
    """Vectors by the number of their region; each is a copy, since a view would keep its whole batch in memory."""
    if encoded.vectors is None:
        return {}, encoded.error
    return {region.region: row.copy() for region, row in zip(encoded.unit.regions, encoded.vectors, strict=True)}, None


def _region(at: int, box: Box | None) -> int:
    """The number of the region for the box at that position; the whole picture is 0 wherever it is asked for."""
    return 0 if box is None else at + 1


def _unit(source: Source, boxes: Mapping[int, Box | None], *, whole_image: bool) -> "Unit":
    """The picture as an encoder gets it: the whole of it first, if it is asked for or the encoder needs to see it."""
    from embeddings_dagster.encoders import Region, Unit

    panels = [Region(_region(at, box), box, None, "") for at, box in boxes.items() if box is not None]
    page = [Region(0, None, None, "")] if whole_image or len(panels) < len(boxes) else []
    return Unit(named(source), b"", (*page, *panels))


def _is_outside(box: Box, picture: Image.Image) -> bool:
    inside = clamp(box, picture.width, picture.height)
    return inside.w < 1 or inside.h < 1


def _empty(box: Box, picture: Image.Image) -> EmptyRegion:
    return EmptyRegion(
        f"the box x={box.x} y={box.y} w={box.w} h={box.h} covers nothing of the {picture.width} x {picture.height} "
        "pixels of the upright picture; correct it"
    )

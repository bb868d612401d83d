"""One unit made ready for a model: decoded, cut into its regions, scaled; or the reason why it cannot be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from embeddings_dagster.encoders.base import Decode, Encoder, Pixels, Unit
from embeddings_dagster.errors import EmbeddingsError, ItemError, OutOfMemory, PrepareFailed, TooManyRegions


@dataclass(frozen=True)
class Ready:
    """A unit without its bytes and without what was left out of it; its pixels, or what went wrong."""

    unit: Unit
    pixels: Pixels | None = None
    size: tuple[int, int] = (0, 0)
    error: ItemError | None = None
    left_out: Mapping[int, ItemError] = field(default_factory=dict)


def make_ready(encoder: Encoder, unit: Unit, decode: Decode) -> Ready:
    """Decode and prepare one unit.

    Raises:
        EmbeddingsError: what is wrong is not this image's fault: no decoder can be started, the model is closed.
    """
    unit, left_out = _within(encoder.max_regions, unit)
    bare = replace(unit, data=b"")
    try:
        if encoder.enough and all(region.box is None for region in unit.regions):
            picture = decode(unit.data, at_least=encoder.enough)
        else:
            picture = decode(unit.data)
        return Ready(bare, encoder.prepare(picture, unit), picture.size, left_out=left_out)
    except ItemError as error:
        return Ready(bare, error=error, left_out=left_out)
    except EmbeddingsError:
        raise
    except MemoryError:
        reason = "not enough memory to decode the picture and make it ready"
        return Ready(bare, error=OutOfMemory(reason), left_out=left_out)
    except Exception as error:  # one picture must not end the run of 40,000 others, whatever it does to a library
        reason = f"cannot be made ready for the model ({type(error).__name__}: {error})"
        return Ready(bare, error=PrepareFailed(reason), left_out=left_out)


def _within(most: int | None, unit: Unit) -> tuple[Unit, dict[int, ItemError]]:
    """The unit with no more regions than the model takes, the first ones, and an error for each of the others."""
    if most is None or len(unit.regions) <= most:
        return unit, {}
    message = f"the model takes {most} regions of an image, the image itself included, and this one has more"
    others = {region.region: TooManyRegions(message) for region in unit.regions[most:]}
    return replace(unit, regions=unit.regions[:most]), dict(others)

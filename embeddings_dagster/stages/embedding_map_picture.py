"""The map drawn: a thumbnail at each picture's place, none over another, framed in the colour of its source."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from embeddings_dagster import ids
from embeddings_dagster.stages.analysis_drawing import caption, tile

Places = npt.NDArray[np.float64]

WIDTH = 1600  # pixels
ROOM = 1.8  # cells for each picture: some stay empty, so that groups have edges
LARGEST, SMALLEST = 96, 16  # pixels of a cell
LEGEND = 28  # pixels of a line of it
ENTRY = 200  # pixels of a source in it, at least
LETTER = 8  # pixels, about

# Okabe and Ito's eight colours, which those who see red and green alike tell apart as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def draw_map(images: Sequence[str], places: Places, pictures: Sequence[bytes | None]) -> Image.Image:
    """`places` (n, 2) go from 0 to 1; `pictures` are thumbnails."""
    side = max(1, int(np.ceil(np.sqrt(len(images) * ROOM))))
    cell = min(LARGEST, max(SMALLEST, WIDTH // side))
    counts = Counter(map(ids.source_of, images))
    colours = {source: COLOURS[number % len(COLOURS)] for number, source in enumerate(sorted(counts))}
    entry = max([ENTRY, *(LETTER * (len(source) + 12) for source in counts)])
    columns = max(1, side * cell // entry)
    height = side * cell + LEGEND * -(-len(counts) // columns) + LEGEND // 2
    sheet = Image.new("RGB", (max(side * cell, entry), height), "white")
    draw = ImageDraw.Draw(sheet)
    frame = max(1, cell // 24)
    for image_id, (column, row), data in zip(images, cells(places, side).tolist(), pictures, strict=True):
        corner = (column * cell, row * cell)
        colour = colours[ids.source_of(image_id)]
        square = (*corner, corner[0] + cell - 1, corner[1] + cell - 1)
        draw.rectangle(square, fill="white", outline=colour, width=frame)
        small = tile(data, cell - 2 * frame)
        sheet.paste(small, (corner[0] + (cell - small.width) // 2, corner[1] + (cell - small.height) // 2))
    for number, (source, count) in enumerate(sorted(counts.items())):
        x, y = number % columns * entry + 8, side * cell + LEGEND // 2 + number // columns * LEGEND
        draw.rectangle((x, y, x + 14, y + 14), fill=colours[source])
        caption(draw, (x + 22, y), f"{source} ({count:,})", size=14)
    return sheet


def cells(places: Places, side: int) -> npt.NDArray[np.int64]:
    """A cell of its own for each place on a grid of `side`²: column and row of the nearest that is free, in order.

    Raises:
        ValueError: there are more places than cells.
    """
    if len(places) > side * side:
        raise ValueError(f"{len(places)} places do not fit into {side * side} cells")
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    free = np.ones(side * side, bool)
    found = np.zeros((len(places), 2), np.int64)
    for number, place in enumerate(places * (side - 1)):
        there = np.flatnonzero(free)
        chosen = there[((centres[there] - place) ** 2).sum(axis=1).argmin()]
        free[chosen] = False
        found[number] = centres[chosen]
    return found

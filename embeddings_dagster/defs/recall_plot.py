"""What a generation's segments were tuned to, as metadata of its materialisation: figures, and the curves as a plot."""

import base64
import io
import math
from collections.abc import Sequence

import dagster as dg
from PIL import Image, ImageDraw

from embeddings_dagster.defs.metadata import Metadata
from embeddings_dagster.index import GenerationManifest, KindRecall, SegmentEntry

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 22, 28  # what is left around the plot, in pixels
COLOURS = {"rows": "#1f6fb4", "texts": "#c4501b"}  # of kinds of query; others are grey
PLOTTED = 8  # segments, the largest; a plot of more shows nothing
LOW = 0.5  # where the plot begins, unless a curve goes lower


def recall_metadata(manifest: GenerationManifest | None) -> Metadata:
    """Nothing for no generation; no plot where every segment is exact."""
    if manifest is None:
        return {}
    found: Metadata = {
        "segment_kinds": dg.MetadataValue.json(manifest.kinds),
        "recall_at_10": dg.MetadataValue.float(manifest.recall),
        "recall_at_10_worst_decile": dg.MetadataValue.float(manifest.worst_decile),
    }
    tuned = sorted((entry for entry in manifest.segments if entry.recall), key=lambda entry: -entry.rows)[:PLOTTED]
    if tuned:
        plot = base64.b64encode(_plot(tuned)).decode()
        found["recall_curves"] = dg.MetadataValue.md(f"![recall by length of the list](data:image/png;base64,{plot})")
    return found


def _plot(segments: Sequence[SegmentEntry]) -> bytes:
    """A PNG: recall@10 over the logarithm of the list's length; thick the mean, thin the worst tenth, and a dot where
    the segment was set."""
    curves = [kind for entry in segments if entry.recall for kind in entry.recall.kinds]
    chosen = [entry.recall.ef for entry in segments if entry.recall for _ in entry.recall.kinds]
    target = max(entry.recall.target for entry in segments if entry.recall)
    points = [point for kind in curves for point in kind.curve]
    axes = _Axes(
        [point.ef for point in points], min([LOW, *(point.worst_decile for point in points)]) if points else LOW
    )
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    axes.draw(draw, target)
    for kind, ef in zip(curves, chosen, strict=True):
        _draw(draw, axes, kind, ef)
    _legend(draw, curves)
    out = io.BytesIO()
    picture.quantize(32).save(out, "PNG", optimize=True)
    return out.getvalue()


class _Axes:
    """From lengths and recalls to pixels."""

    def __init__(self, lengths: Sequence[int], low: float) -> None:
        self._first, self._last = math.log2(min(lengths)), max(math.log2(max(lengths)), math.log2(min(lengths)) + 1)
        self._lengths, self._low = sorted(set(lengths)), low

    def at(self, length: int, recall: float) -> tuple[float, float]:
        across = (math.log2(length) - self._first) / (self._last - self._first)
        up = (recall - self._low) / (1 - self._low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def draw(self, draw: ImageDraw.ImageDraw, target: float) -> None:
        for recall in (self._low, (1 + self._low) / 2, target, 1.0):
            left, height = self.at(self._lengths[0], recall)
            colour = "#2a8a3e" if recall == target else "#dddddd"
            draw.line((left, height, WIDTH - RIGHT, height), fill=colour)
            draw.text((LEFT - 6, height), f"{recall:.2f}", fill="#555555", anchor="rm")
        for length in self._lengths:
            across, _ = self.at(length, self._low)
            draw.text((across, HEIGHT - BOTTOM + 6), str(length), fill="#555555", anchor="ma")


def _draw(draw: ImageDraw.ImageDraw, axes: _Axes, kind: KindRecall, chosen: int) -> None:
    colour = _colour(kind)
    draw.line([axes.at(point.ef, point.mean) for point in kind.curve], fill=colour, width=3)
    draw.line([axes.at(point.ef, point.worst_decile) for point in kind.curve], fill=colour, width=1)
    across, up = axes.at(chosen, kind.mean)
    draw.ellipse((across - 4, up - 4, across + 4, up + 4), fill=colour)


def _legend(draw: ImageDraw.ImageDraw, curves: Sequence[KindRecall]) -> None:
    across = LEFT
    for name in dict.fromkeys(kind.kind for kind in curves):
        colour = COLOURS.get(name, "#555555")
        draw.text((across, 6), name, fill=colour)
        across += 50
    draw.text((across, 6), "mean thick, worst tenth thin; target green; length of the list below", fill="#555555")


def _colour(kind: KindRecall) -> str:
    return COLOURS.get(kind.kind, "#555555")

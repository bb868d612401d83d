"""What can be read off a part's rounds: medians, spreads, ratios within a round, shares of the peak.

A record is a part as the results keep it: `titles` of its contestants, `rounds` with each one's figures, `facts`.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Value = Callable[[Mapping[str, Any]], float]


def cpu(figures: Mapping[str, Any]) -> float:
    """Seconds."""
    return float(figures["cpu"])


def wall(figures: Mapping[str, Any]) -> float:
    """Seconds."""
    return float(figures["wall"])


def cpu_per_image(figures: Mapping[str, Any]) -> float:
    """Milliseconds."""
    return cpu(figures) / int(figures["images"]) * 1000


def wall_per_image(figures: Mapping[str, Any]) -> float:
    """Milliseconds."""
    return wall(figures) / int(figures["images"]) * 1000


def images_per_second(figures: Mapping[str, Any]) -> float:
    return int(figures["images"]) / wall(figures)


def operations_per_second(figures: Mapping[str, Any]) -> float:
    return int(figures["operations"]) / wall(figures)


def measured(part: Record) -> list[str]:
    """The contestants that have had a turn."""
    return [name for name in part["titles"] if any(name in each for each in part["rounds"])]


def values(part: Record, name: str, value: Value) -> list[float]:
    """Of each round in which it had its turn."""
    return [value(each[name]) for each in part["rounds"] if name in each]


def middle(part: Record, name: str, value: Value) -> float:
    return statistics.median(values(part, name, value))


def spread(found: Sequence[float], form: str = ".2f") -> str:
    """Median (lowest–highest)."""
    if not found:
        return ""
    median, low, high = (format(each, form) for each in (statistics.median(found), min(found), max(found)))
    return median if low == high else f"{median} ({low}–{high})"


def ratios(part: Record, name: str, base: str, value: Value) -> list[float]:
    """How many times less than `base` it takes, in each round that has both."""
    return [value(each[base]) / value(each[name]) for each in part["rounds"] if base in each and name in each]


def best(part: Record, names: Sequence[str], value: Value) -> str:
    """The one that takes least."""
    return min(names, key=lambda name: middle(part, name, value))


def loops(part: Record) -> list[str]:
    """Those written by hand."""
    return [name for name in measured(part) if name.startswith("loop")]


def shares_of_peak(part: Record, name: str, value: Value) -> list[float]:
    """Operations of the network over those of a product of matrices in the same round, in CPU-seconds or in wall time.

    What is not computed in bf16 is set against float32.
    """
    peak = "gemm-bf16" if part["precisions"].get(name) == "bf16" else "gemm-fp32"
    operations = part["facts"]["operations"]
    return [
        int(each[name]["images"]) * operations / value(each[name]) * value(each[peak]) / int(each[peak]["operations"])
        for each in part["rounds"]
        if peak in each and name in each
    ]


def ours(part: Record, precision: str) -> list[str]:
    """Those of this project in a precision that have had a turn."""
    return [name for name in measured(part) if part["precisions"].get(name) == precision]

"""The tables of the report, each from one part: lines of Markdown."""

import statistics
from collections.abc import Iterator, Sequence

from encoding_contestants import DEFAULT
from encoding_figures import (
    Record,
    best,
    cpu,
    cpu_per_image,
    images_per_second,
    loops,
    measured,
    middle,
    operations_per_second,
    ours,
    ratios,
    shares_of_peak,
    spread,
    values,
    wall,
    wall_per_image,
)
from encoding_parts import LEAST_COSINE
from encoding_project import WARM_PICTURES

MIB = 2**20
FLAT = 1.15
LEAST_SHARE = 0.9
LIBRARIES = ("sentence-transformers", "daft")
RUN = 10_000  # images


def table(*heads: str) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def verdict(met: bool) -> str:
    return "reached" if met else "**missed**"


def targets(parts: Sequence[Record]) -> Iterator[str]:
    """The best variant of each precision and backend against what it is to reach."""
    yield from table("", "precision", "best of ours", "times less CPU than the loop", "to be reached", "least cosine",
                     "to be reached", "")  # fmt: skip
    for part in parts:
        if not loops(part):
            continue
        base = best(part, loops(part), cpu_per_image)
        for precision, target in part["facts"].get("targets", {}).items():
            for backend in ("torch", "openvino"):
                names = [name for name in ours(part, precision) if backend in name]
                if names:
                    yield _against(part, best(part, names, cpu_per_image), base, precision, target)


def _against(part: Record, name: str, base: str, precision: str, target: float) -> str:
    found = ratios(part, name, base, cpu_per_image)
    cosine, least = part.get("cosines", {}).get(name, {}).get("least", 0.0), LEAST_COSINE[precision]
    met = statistics.median(found) >= target and cosine >= least
    return row(f"{part['section']}: {part['facts']['title']}", precision, part["titles"][name], spread(found),
               str(target), f"{cosine:.6f}", str(least), verdict(met))  # fmt: skip


def libraries(parts: Sequence[Record]) -> Iterator[str]:
    """Ours as it is by default, in float32, against the libraries; on the same work it is to be no slower."""
    yield from table("", "library", "times less CPU", "times faster", "")
    for part in parts:
        for name in measured(part):
            if name not in LIBRARIES or DEFAULT.name not in measured(part):
                continue
            found = [ratios(part, DEFAULT.name, name, value) for value in (cpu_per_image, wall_per_image)]
            met = all(statistics.median(each) >= 1 for each in found)
            same = part["section"] == "committed"
            yield row(f"{part['section']}: {part['facts']['title']}", part["titles"][name], *map(spread, found),
                      verdict(met) if same else "it does less work")  # fmt: skip


def encoding(part: Record) -> Iterator[str]:
    """One model on one kind of picture: everyone, in milliseconds an image."""
    yield f"### {part['facts']['title']}"
    yield ""
    yield f"{part['about']['images']:,} pictures a round, {len(part['rounds'])} rounds; milliseconds an image."
    yield ""
    yield from table("", "CPU", "wall", "times less CPU than the loop", "times faster than the loop",
                     "least cosine to the loop", "mean", "share of the peak, CPU", "wall")  # fmt: skip
    for name in measured(part):
        if not name.startswith("gemm"):
            yield row(part["titles"][name], *_encoding_cells(part, name))
    yield ""
    yield from _about_encoding(part)
    yield ""


def _encoding_cells(part: Record, name: str) -> Iterator[str]:
    for value in (cpu_per_image, wall_per_image):
        yield spread(values(part, name, value), ".1f")
    for value in (cpu_per_image, wall_per_image):
        yield spread(ratios(part, name, best(part, loops(part), value), value)) if loops(part) else ""
    yield from _cosines(part, name)
    for value in (cpu, wall):
        yield spread(shares_of_peak(part, name, value), ".0%")


def _cosines(part: Record, name: str) -> Iterator[str]:
    found = part.get("cosines", {}).get(name)
    for what in ("least", "mean"):
        yield f"{found[what]:.6f}" if found else ""


def _about_encoding(part: Record) -> Iterator[str]:
    for precision in ("fp32", "bf16"):
        found = values(part, f"gemm-{precision}", operations_per_second)
        if found:
            told = spread([each / 1e9 for each in found], ",.0f")
            yield f"- `torch.mm` in {precision}, in the same rounds: {told} GFLOP/s."
    operations = part["facts"]["operations"] / 1e9
    yield (f"- The share is that of the network's {operations:.2f} GFLOP an image in this peak, with all else that is "
           "done for an image; int8 is set against float32, and what a backend leaves out is counted.")  # fmt: skip
    yield from _unlike(part)
    for name, figures in part["facts"].get("calibration", {}).items():
        yield f"- Calibrating `{name}`, once for a project: {cpu(figures):.0f} s of CPU."
    for name, precision in part["precisions"].items():
        if precision != "fp32" and name in measured(part):
            yield _about_gate(part, name)
    stages = [each[name]["stages"] for each in part["rounds"] for name in each if "stages" in each[name]]
    if stages:
        count = part["about"]["images"]
        told = ", ".join(f"{stage} {spread([each[stage] / count * 1000 for each in stages], '.1f')}"
                         for stage in stages[0] if stage != "embed")  # fmt: skip
        yield f"- Of ours, whatever the precision, ms of CPU an image: {told}; the table is without index."


def _unlike(part: Record) -> Iterator[str]:
    if "unlike" in part:
        mean, least = part["unlike"]["mean"], part["unlike"]["least"]
        yield f"- Cosine between unlike pictures: {mean:.3f} on average, {least:.3f} at least."


def _about_gate(part: Record, name: str) -> str:
    """What the clock did not see, and what it would come to in a run of a usual size."""
    warming = values(part, name, lambda each: each["warming_cpu"])
    apart = statistics.median(warming) - WARM_PICTURES * middle(part, name, cpu_per_image) / 1000
    spread_out = middle(part, name, cpu_per_image) + max(apart, 0) / RUN * 1000
    back = sum(each[name]["precisions"].get("fp32", 0) for each in part["rounds"] if name in each)
    return (f"- `{name}`: its gate and the first {WARM_PICTURES} pictures, once a process, {spread(warming, '.1f')} s "
            f"of CPU, which makes {spread_out:.1f} ms an image of {RUN:,}; sent back to float32: {back}.")  # fmt: skip


def trained(parts: Sequence[Record]) -> Iterator[str]:
    """What precisions do to vectors of models that were trained."""
    yield from table("", "", "least cosine to the loop", "mean")
    for part in parts:
        for name in measured(part):
            yield row(part["facts"]["title"], part["titles"][name], *_cosines(part, name))
    yield ""
    for part in parts:
        yield from (f"{line[:-1]} ({part['facts']['title']})." for line in _unlike(part))
    yield ""


def orchestration(part: Record) -> Iterator[str]:
    yield from ("## Orchestration's share", "")
    yield f"{part['about']['pictures']:,} PNG from nothing to index and catalogue, both bundled models; CPU-seconds."
    yield ""
    yield from table("stages alone", "with Dagster", "orchestration's share")
    shares = [1 - cpu(each["stages"]) / cpu(each["run"]) for each in part["rounds"] if len(each) == 2]
    yield row(*(spread(values(part, how, cpu)) for how in ("stages", "run")), spread(shares, ".0%"))
    yield ""


def again(part: Record) -> Iterator[str]:
    """Shares of the first run."""
    first, wanted = middle(part, "first", cpu), part["facts"]["targets"]
    yield from ("## A second run", "")
    yield f"{part['about']['pictures']:,} PNG, both bundled models: they are small, so these are shares of little."
    yield ""
    yield from table("", "CPU s", "wall s", "of the first run's CPU-seconds", "to be reached", "")
    for name in measured(part):
        shares = [each / first for each in values(part, name, cpu)]
        yield row(
            part["titles"][name],
            spread(values(part, name, cpu)),
            spread(values(part, name, wall)),
            spread(shares, ".2%"),
            *_judged(shares, wanted.get(name)),
        )
    yield ""


def _judged(shares: Sequence[float], wanted: float | None) -> tuple[str, str]:
    return ("", "") if wanted is None else (f"{wanted:.0%}", verdict(statistics.median(shares) <= wanted))


def memory(part: Record) -> Iterator[str]:
    """Peaks, and by how much the largest is above the smallest."""
    kinds = {
        "baseline": lambda each: each["baseline"] / MIB,
        "peak": lambda each: each["peak"] / MIB,
        "above the baseline": lambda each: (each["peak"] - each["baseline"]) / MIB,
    }
    yield from ("## Memory", "")
    yield ("Resident memory of the process from `rgb_images` to vectors, by a network of one layer on small JPEG; at "
           "the baseline the model is loaded and has encoded one picture. MiB.")  # fmt: skip
    yield ""
    yield from table("", *kinds, "CPU s")
    for name in measured(part):
        yield row(part["titles"][name], *(spread(values(part, name, kind), ".0f") for kind in kinds.values()),
                  spread(values(part, name, cpu), ".1f"))  # fmt: skip
    yield ""
    names = measured(part)
    middles = [middle(part, name, kinds["peak"]) for name in names]
    share = max(middles) / middles[0]
    told = verdict(share <= FLAT)
    yield f"- The peak is at most {share - 1:+.1%} to that at the smallest size; to be reached: +15 %; {told}."
    grown = [middle(part, name, kinds["above the baseline"]) for name in names]
    more = (grown[-1] - grown[0]) * MIB / max(int(names[-1]) - int(names[0]), 1)
    yield f"- Above the baseline it grows by {more:,.0f} bytes for each image more."
    yield ""


def gpu(part: Record) -> Iterator[str]:
    """Shares of the ceilings."""
    yield from (f"## On a GPU: {part['facts']['title']}, JPEG of 256 pixels", "")
    yield f"{part['about']['images']:,} pictures a round; images a second. Ceilings are measured in the same rounds."
    yield ""
    yield from table("", "images a second", "to be reached", "decoder alone", "model alone",
                     f"share of the lower ({LEAST_SHARE:.0%} to be reached)", "")  # fmt: skip
    for name in measured(part):
        if name.startswith(("decoding", "model")):
            continue
        found = values(part, name, images_per_second)
        ceilings = [values(part, f"{what}-{name}", images_per_second) for what in ("decoding", "model")]
        shares = [each / min(pair) for each, *pair in zip(found, *ceilings, strict=False)]
        if not shares:
            yield row(part["titles"][name], spread(found, ",.0f"), "", "", "", "", "")
            continue
        met = statistics.median(shares) >= LEAST_SHARE and statistics.median(found) >= part["facts"]["target"]
        yield row(part["titles"][name], spread(found, ",.0f"), f"{part['facts']['target']:,}",
                  *(spread(each, ",.0f") for each in ceilings), spread(shares, ".0%"), verdict(met))  # fmt: skip
    yield ""

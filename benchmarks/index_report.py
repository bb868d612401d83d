"""The figures of the index as Markdown: each beside what it is to reach, whether it does or not."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from encoding_results import machine

Figures = Mapping[str, Any]

HEAD = """\
# What an index costs, and how much it finds

Made by `benchmarks/bench_index.py`; nothing here is written by hand. {rows:,} vectors of 512 numbers that lie as those
of pictures do (`benchmarks/index_vectors.py`): in clusters of unequal size within a narrow cone; texts lie off that
cone, and graphs are tuned on such texts, not on those of the model, whose weights are random. Every step is a process
of its own, everything imported before the clock starts. CPU-seconds are those of all threads. Medians, lowest and
highest in brackets.

{machine}
"""
PACKAGES = ("faiss-cpu", "hnswlib", "usearch", "numpy", "pyarrow")
AIMS = {"exact": 11.0, "recall": 0.95, "refresh": 50.0, "opening": 50.0, "answer": 5.0}


def report(results: Figures) -> str:
    """Everything that was measured; what was not is said to be missing."""
    steps: dict[str, dict[str, list[Any]]] = {}
    for key, figures in results["steps"].items():
        project, _, step = key.partition("/")
        steps.setdefault(project, {}).setdefault(step.partition("-")[2], []).append(figures)
    small, million = steps.get("small", {}), steps.get("million", {})
    head = HEAD.format(rows=results["rows"].get("small", 0), machine=_machine())
    parts = [
        *_aims(small),
        *(_contest(small["contest"][0], "One query") if "contest" in small else []),
        *(_filters(small["filters"][0]) if "filters" in small else []),
        *(_service(small["service"][0]) if "service" in small else []),
        *(_building(small) if "build" in small else []),
        *(_curve(small["build"][0]) if "build" in small else []),
        *(_million(million, results["rows"].get("million", 0)) if "build" in million else []),
    ]
    return head + "\n" + "\n".join(parts).rstrip() + "\n"


def _machine() -> str:
    found = machine()
    packages = []
    for name in PACKAGES:
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return (f"{found['processor']} ({found['machine']}, {found['instructions']}), {found['cores']} cores; "
            f"Python {found['python']}, {', '.join(packages)}")  # fmt: skip


def _aims(steps: Mapping[str, list[Any]]) -> Iterator[str]:
    yield "## What was to be reached\n"
    yield "| | seen | to be reached | |\n|---|---|---|---|"
    if "contest" in steps:
        found = steps["contest"][0]
        times = _ratios(found["exact FAISS"]["ms"], found["ours"]["ms"])
        yield _row("times less CPU a query than exact FAISS", _spread(times, "{:.1f}"), "≥ 11",
                   statistics.median(times) >= AIMS["exact"])  # fmt: skip
        least = min(found["ours"]["pictures"], found["ours"]["texts"])
        yield _row("recall@10, the mean of pictures and of texts, the lower", f"{least:.3f}", "≥ .95",
                   least >= AIMS["recall"])  # fmt: skip
    if "build" in steps and "one_changed" in steps:
        for name, title in (("one_more", "new"), ("one_changed", "changed")):
            times = [steps["build"][0]["cpu"] / each["cpu"] for each in steps[name]]
            yield _row(f"times less CPU to refresh 1 % that is {title} than to build from nothing",
                       _spread(times, "{:.0f}"), "≥ 50", statistics.median(times) >= AIMS["refresh"])  # fmt: skip
    if "opening" in steps:
        wall = steps["opening"][0]["wall_ms"]
        yield _row("ms to open it, once verified", _spread(wall, "{:.1f}"), "≤ 50",
                   statistics.median(wall) <= AIMS["opening"])  # fmt: skip
    if "filters" in steps:
        least = min(each["ours"]["recall"] for each in steps["filters"][0].values())
        yield _row("recall@10 under every filter, the lowest mean", f"{least:.3f}", "≥ .95", least >= AIMS["recall"])
    if "service" in steps:
        found = steps["service"][0]
        rest = statistics.median(found["a text, less its encoding"])
        yield _row("ms from a text to its answer, less the text encoder", f"{rest:.1f}", "≤ 5",
                   rest <= AIMS["answer"])  # fmt: skip
    yield ""


def _row(what: str, seen: str, aim: str, reached: bool) -> str:
    return f"| {what} | {seen} | {aim} | {'reached' if reached else '**missed**'} |"


def _contest(found: Figures, title: str) -> Iterator[str]:
    yield f"## {title}\n"
    yield ("One thread, one query at a time, ten hits; half of the queries are pictures not in the index, half "
           "are texts. Ours is whole: hits with ids and scores of float32. The libraries have the least breadth of "
           "search that finds .95 of each kind.\n")  # fmt: skip
    heads = ("", "ms of CPU a query", "times less than exact", "recall@10, pictures", "texts", "worst tenth", "breadth",
             "built in, CPU s")  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for name in ("exact FAISS", "ours", "hnswlib", "usearch"):
        if name not in found:
            continue
        each = found[name]
        times = _ratios(found["exact FAISS"]["ms"], each["ms"])
        built = each["build"].get("cpu")
        yield (
            f"| {name} | {_spread(each['ms'], '{:.2f}')} | {_spread(times, '{:.1f}')} | {each['pictures']:.3f} "
            f"| {each['texts']:.3f} | {each['worst']:.3f} | {each['breadth'] or ''} "
            f"| {f'{built:.0f}' if built else ''} |"
        )
    yield ""


def _filters(found: Figures) -> Iterator[str]:
    yield "## Among some rows only\n"
    yield ("Recall@10 and milliseconds of CPU a query. Beside it: faiss's own selector in the graph of the same file, "
           "with the breadth that the graph was tuned to.\n")  # fmt: skip
    yield "| rows that may be found | share | ours | ms | selector in the graph | ms |\n|---|---|---|---|---|---|"
    for key, each in found.items():
        kind, _, share = key.partition("|")
        ours, selector = each["ours"], each["selector"]
        yield (f"| {kind} | {float(share):.2%} | {ours['recall']:.3f} | {ours['ms']:.2f} "
               f"| {selector['recall']:.3f} | {selector['ms']:.2f} |")  # fmt: skip
    yield ""


def _service(found: Figures) -> Iterator[str]:
    yield "## From a question to its answer\n"
    yield ("`SearchService`, warm, in one thread: ten hits with their records and locations. The text encoder is CLIP "
           "ViT-B/32's, with random weights.\n")  # fmt: skip
    yield "| asked | ms of CPU |\n|---|---|"
    for name, values in found.items():
        yield f"| {name} | {statistics.median(values):.2f} (worst tenth {sorted(values)[len(values) * 9 // 10]:.2f}) |"
    yield ""


def _building(steps: Mapping[str, list[Any]]) -> Iterator[str]:
    yield "## Building and keeping it\n"
    yield "From changed manifests to the committed generation.\n"
    yield "| | CPU s | wall s | memory it took, mapped files among it, MiB |\n|---|---|---|---|"
    names = {"build": "from nothing", "one_more": "1 % new", "one_changed": "1 % changed",
             "compact": "compaction of what those left"}  # fmt: skip
    for name, title in names.items():
        each = steps.get(name, [])
        if each:
            memory = [(figures["peak"] - figures["baseline"]) / 2**20 for figures in each]
            cpu, wall = ([figures[what] for figures in each] for what in ("cpu", "wall"))
            yield f"| {title} | {_spread(cpu, '{:.2f}')} | {_spread(wall, '{:.2f}')} | {_spread(memory, '{:.0f}')} |"
    first = steps["build"][0]
    yield f"\n{first['rows']:,} rows, {first['bytes'] / first['rows']:,.0f} bytes each on disk with `vectors.npy`.\n"


def _curve(built: Figures) -> Iterator[str]:
    yield "## What was tuned when it was built\n"
    yield "On rows held out of the graph and on texts; the promise is .95 of the ten nearest.\n"
    yield "| segment | kind of query | queries | breadth | recall@10 | worst tenth | the curve |"
    yield "|---" * 7 + "|"
    for segment in built["segments"]:
        for kind in (segment["recall"] or {}).get("kinds", []):
            curve = " ".join(f"{point['ef']}:{point['mean']:.3f}" for point in map(_point, kind["curve"]))
            yield (f"| {segment['kind']}, {segment['rows']:,} | {kind['kind']} | {kind['queries']} | {kind['ef']} "
                   f"| {kind['mean']:.3f} | {kind['worst_decile']:.3f} | {curve} |")  # fmt: skip
    yield ""


def _point(said: Any) -> Figures:
    return said if isinstance(said, dict) else dict(zip(("ef", "mean", "worst_decile"), said, strict=True))


def _million(steps: Mapping[str, list[Any]], rows: int) -> Iterator[str]:
    yield f"## {rows:,} vectors, once\n"
    built = steps["build"][0]
    memory = (built["peak"] - built["baseline"]) / 2**20
    yield (
        f"Built from nothing in {built['wall'] / 60:.0f} minutes ({built['cpu']:,.0f} CPU-seconds), with "
        f"{memory:,.0f} MiB of memory, mapped files among it, into {len(built['segments'])} segment(s), "
        f"{built['bytes'] / 2**30:.1f} GiB."
    )
    if "opening" in steps:
        yield f"Opened in {_spread(steps['opening'][0]['wall_ms'], '{:.0f}')} ms.\n"
    if "contest" in steps:
        yield from _contest(steps["contest"][0], f"One query of {rows:,}")


def _ratios(base: Sequence[float], other: Sequence[float]) -> list[float]:
    return [one / two for one, two in zip(base, other, strict=True)]


def _spread(values: Sequence[float], form: str) -> str:
    middle, low, high = (form.format(each) for each in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"

"""The benchmarks' own steps, at a size that takes seconds: what they count, not how long it takes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
BYTES = 500  # of memory, at most, for an entry that is planned


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench_planning

    yield bench_planning
    del sys.modules["bench_planning"]


def test_an_entry_that_is_planned_takes_little_memory(bench: ModuleType, tmp_path: Path) -> None:
    """Against an empty ledger, and against its own; libraries load at both sizes, so the difference is the entries'."""
    small, large = 40_000, 160_000
    for todo in (True, False):
        grown = []
        for size in (small, large):
            (tmp_path / str(size)).mkdir(exist_ok=True)
            figures = bench.measure("made_up", tmp_path / str(size), size)
            assert figures["todo"] == (size if todo else 0)
            grown.append(figures["bytes"])
        assert (grown[1] - grown[0]) / (large - small) <= BYTES


@pytest.mark.parametrize("kind", ["folder", "catalogue", "scraped"])
def test_every_entry_of_a_pile_is_found_once(bench: ModuleType, tmp_path: Path, kind: str) -> None:
    getattr(bench, kind)(tmp_path, 12)
    entries = 12 * (bench.ITEMS if kind == "scraped" else 1)
    assert bench.measure("plan", tmp_path, entries)["todo"] == entries
    assert bench.measure("look", tmp_path, entries)["todo"] == entries
    assert bench.measure("plan", tmp_path, entries)["todo"] == 0


def test_a_tick_over_known_batches_reads_no_picture_and_asks_for_nothing(bench: ModuleType, tmp_path: Path) -> None:
    """250 batches: more than the 200 that are read again in every tick, and whose files are all that it opens."""
    bench.scraped(tmp_path, 250)
    for step in ("look", "raw"):
        bench.measure(step, tmp_path, 250)
    figures = bench.measure("tick", tmp_path, 250)
    assert (figures["todo"], figures["pictures"]) == (0, 0)
    assert figures["files"] < 450


def test_the_report_has_every_figure(bench: ModuleType) -> None:
    results = []
    for case in bench.cases(400, 400, 400, 400):
        figures = {"cpu": 1.5, "wall": 2.0, "bytes": 4e6, "todo": 0, "files": 401, "pictures": 0}
        steps = (*case.steps, bench.RAW, bench.TICK)
        results.append((case, {(size, title): [figures] * 3 for size in case.sizes for _, title in steps}))
    text = bench.report(results, 3)
    assert "3 rounds" in text
    assert "| plan, nothing new | 1.50 | 1.50 | 1.50 | 15000.0, 3750.0 | 0 (10000) |" in text
    assert "That tick over 400 batches took 2 seconds of wall time and opened 401 files, 0 of them pictures." in text

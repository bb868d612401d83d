"""The steps that `bench_planning.py` measures, each in a process of its own: called with a step's name, a project's
folder and the number of entries, it prints the figures as JSON.

`plan` is what `embeddings plan` does with a source, `look` what a run does before anything else, `tick` the sensor's.
Everything is imported before the clock starts.
"""

import json
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

PICTURES = (".png", ".jpg")
TICKS = 5
SOURCE = "pile"

Figures = dict[str, float]


@contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """CPU- and wall-seconds of a block, and by how many bytes the process grew at its peak."""
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures["cpu"], figures["wall"] = time.process_time() - cpu, time.perf_counter() - wall
    figures["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def made_up(root: Path, size: int) -> Figures:
    """Plan a scan of so many entries that no folder holds: first against an empty ledger, then against its own."""
    import numpy
    import pyarrow.compute

    from embeddings_dagster.stages.ledger_plan import plan_ledger
    from embeddings_dagster.stages.ledger_rows import ledger_rows
    from embeddings_dagster.store import Store

    assert numpy.version, pyarrow.compute
    store = Store.open(root / "data", root / "cache")
    manifest = store.ledger(SOURCE).latest()
    figures: Figures = {}
    with measured(figures):
        rows = ledger_rows(store, SOURCE, manifest, manifest.batches if manifest else ())
        plan = plan_ledger(rows, scan_of(size), source=SOURCE, batch_images=4096, scanned_at=datetime.now(UTC))
    figures["todo"] = len(plan.new)
    if manifest is None:
        store.ledger(SOURCE).commit(None, plan.batches, run_id="benchmark")
    return figures


def scan_of(size: int) -> "object":
    """A table as the scan of a folder gives it, of `album-00012/photo-000012345.jpg` and so on."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from embeddings_dagster.sources import SCAN

    numbers = np.arange(size)
    album = pc.utf8_lpad(pa.array(numbers // 1000).cast(pa.string()), 5, "0")
    photo = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")
    ids = pc.binary_join_element_wise("album-", album, "/photo-", photo, ".jpg", "")
    columns = {"local_id": ids, "item_id": ids, "location": ids, "ordinal": pa.array(np.zeros(size, np.int32)),
               "size": pa.array(numbers + 1000), "mtime_ns": pa.array(10**18 + numbers * 1000)}  # fmt: skip
    return pa.table([columns.get(name, pa.nulls(size, pa.string())) for name in SCAN.names], schema=SCAN)


def plan(root: Path, size: int) -> Figures:
    """Scan a source and compare it with its ledger."""
    from embeddings_dagster.stages.discover import survey

    context = _context(root)
    figures: Figures = {}
    with measured(figures):
        found = survey(context, SOURCE)  # type: ignore[arg-type]
    figures["todo"] = len(found.plan.new)
    return figures


def look(root: Path, size: int) -> Figures:
    """The same, with a second look at what is new, and the ledger committed."""
    from embeddings_dagster.stages.discover import discover

    context = _context(root)
    figures: Figures = {}
    with measured(figures):
        found = discover(context, SOURCE, wait=True)  # type: ignore[arg-type]
    figures["todo"] = found.new
    return figures


def raw(root: Path, size: int) -> Figures:
    """Commit `raw_images` of every batch."""
    from embeddings_dagster.stages.raw import run_raw

    context = _context(root)
    figures: Figures = {}
    with measured(figures):
        for key in context.store.ledger(SOURCE).latest().batches:  # type: ignore[attr-defined]
            run_raw(context, key)  # type: ignore[arg-type]
    return figures


def tick(root: Path, size: int) -> Figures:
    """Ticks of the sensor, the last of which is measured: the first ones learn what there is."""
    import dagster as dg

    from embeddings_dagster.defs.build import project_defs
    from embeddings_dagster.defs.partitions import IMAGE_BATCHES
    from embeddings_dagster.defs.resources import Project
    from embeddings_dagster.settings import load_settings

    opened: Counter[str] = Counter()

    def hear(event: str, about: tuple[object, ...]) -> None:
        if event == "open" and isinstance(about[0], str | bytes):
            opened[Path(os.fsdecode(about[0])).suffix] += 1

    repository = project_defs(Project(load_settings(root / "embeddings.yaml"))).get_repository_def()
    sensor = repository.get_sensor_def("follow_sources")
    sys.addaudithook(hear)
    figures: Figures = {}
    with dg.DagsterInstance.local_temp(str(root)) as instance:
        for number in range(1000):
            opened.clear()
            with measured(figures):
                result = sensor(dg.build_sensor_context(instance=instance, repository_def=repository))
            for change in result.dynamic_partitions_requests or ():
                instance.add_dynamic_partitions(IMAGE_BATCHES, list(change.partition_keys))
            if number >= TICKS and "in the next ticks" not in str(result.skip_reason):
                break
    figures["files"], figures["pictures"] = sum(opened.values()), sum(opened[suffix] for suffix in PICTURES)
    figures["todo"] = len(result.run_requests or ())
    return figures


def _context(root: Path) -> "object":
    """The context of a stage; what a look needs is imported."""
    import pyarrow.parquet

    from embeddings_dagster.settings import load_settings
    from embeddings_dagster.stages.context import StageContext
    from embeddings_dagster.stages.opened import opened_source
    from embeddings_dagster.store import Store

    assert pyarrow.parquet
    settings = load_settings(root / "embeddings.yaml")
    opened_source(settings, SOURCE)
    store = Store.open(settings.data_root, settings.cache_root)
    return StageContext(settings, store, "benchmark", stop=threading.Event())


STEPS: dict[str, Callable[[Path, int], Figures]] = {
    "made_up": made_up,
    "plan": plan,
    "look": look,
    "raw": raw,
    "tick": tick,
}

if __name__ == "__main__":
    name, folder, entries = sys.argv[1:]
    print(json.dumps(STEPS[name](Path(folder), int(entries))))

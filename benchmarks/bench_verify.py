"""What verifying costs, by kind of file, and what it costs to repair one damaged part beside making its batch anew.

Pictures are made up, of a phone's kind of size on disk; vectors are those of the bundled CLIP. All of it is CPU time of
one process, so that other load on the machine counts little. A repair is measured as the stage alone, without Dagster.

    python benchmarks/bench_verify.py [--pictures 1024] [--out FILE]      writes docs/performance/verify.md
"""

import argparse
import io
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages import looks, settling
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.repair_rows import prepare
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance" / "verify.md"
EDGE = 640  # pixels: about 100 kB of JPEG, for it is noise
MB = 1e6


def paint(folder: Path, count: int) -> None:
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(count):
        coarse = chance.integers(0, 256, (EDGE // 8, EDGE // 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=90)
        (folder / f"{number:06}.jpg").write_bytes(data.getvalue())


def project(root: Path) -> StageContext:
    told = {
        "batch_images": 100_000,
        "sources": {"art": {"kind": "folder", "path": "pictures"}},
        "models": {"clip": {"kind": "clip", "model": "bundled:clip", "device": "cpu"}},
    }
    settings = settings_from(Document("embeddings.yaml", told, {}), root=root)
    return StageContext(settings, Store.open(settings.data_root, settings.cache_root), "bench")


def cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def stages(context: StageContext, batch: str) -> dict[str, Callable[[StageContext], object]]:
    clip, engine = context.settings.models["clip"], LocalEngine(context.store.cache)
    return {
        "raw_images": lambda stage: run_raw(stage, batch),
        "rgb_images": lambda stage: run_rgb(stage, batch),
        "embeddings": lambda stage: run_embed(stage, "clip", clip, engine, batch),
    }


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def repairs(context: StageContext, batch: str) -> list[tuple[str, int, int, float, float, float]]:
    """For each stage: rows of the damaged part and of the batch, and seconds to look before, to heal, to make anew."""
    found = []
    for name, run in stages(context, batch).items():
        place = next(each for each in context.store.datasets() if each.startswith(name))
        chain = context.store.chain(place, batch)
        manifest = chain.latest()
        assert manifest is not None
        part = manifest.parts[0]
        path = Path(context.store.root) / chain.path(part.file)
        path.write_bytes(path.read_bytes()[:-1])
        looked = cpu(lambda: prepare(context, batch, {}))
        healed = cpu(lambda run=run: run(replace(context, heal=True)))  # type: ignore[misc]
        forced = cpu(lambda run=run: run(replace(context, force=True)))  # type: ignore[misc]
        found.append((name, part.live, manifest.counts.ok, looked, healed, forced))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=REPORT)
    arguments = parser.parse_args()
    for module in (looks, settling):
        module.APART = timedelta(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paint(root / "pictures", arguments.pictures)
        context = project(root)
        (batch,) = discover(context, "art", wait=True).manifest.batches
        for run in stages(context, batch).values():
            run(context)
        refresh_index(context, "clip")
        refresh_catalog(context)
        data = Path(context.store.root)
        sizes = {each: size_of(data / each) for each in sorted(os.listdir(data)) if each != "cache"}
        total = sum(sizes.values())
        assert verify(context.store) == []
        took = cpu(lambda: verify(context.store))
        lines = [
            "# Verifying and repairing, measured",
            "",
            f"Made by `benchmarks/bench_verify.py`: {arguments.pictures:,} JPEGs of {EDGE} pixels in one batch, "
            f"bundled CLIP; seconds of CPU in one process. {platform.machine()}, Python {platform.python_version()}.",
            "",
            f"`verify` read {total / MB:,.0f} MB in {took:.2f} s: {total / MB / took:,.0f} MB a second "
            f"({', '.join(f'{name} {size / MB:,.1f} MB' for name, size in sizes.items())}).",
            "",
            "| a damaged part of | rows of it | of the batch | to look whether it can be | to heal | the batch anew |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for name, rows, every, looked, healed, forced in repairs(context, batch):
            lines.append(f"| {name} | {rows:,} | {every:,} | {looked:.2f} s | {healed:.2f} s | {forced:.2f} s |")
    text = "\n".join(lines) + "\n"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

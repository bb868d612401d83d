"""docs/statistics.md: its table is what the stages say of the sample, and it explains every field."""

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages import looks, settling
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.statistics import Statistics, summed
from embeddings_dagster.store import Store
from embeddings_dagster_tests.stages.toy_engine import ToyEngine

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "statistics.md").read_text()
SAMPLE = ROOT / "data" / "sample"
SETTINGS = {
    "sources": {
        "fashion": {"kind": "scraped", "path": str(SAMPLE / "scraped"), "text": ["title"]},
        "comics": {"kind": "comics", "path": str(SAMPLE / "comics" / "specs.txt")},
    },
    "models": {"clip": {"kind": "clip", "model": "bundled:clip", "device": "cpu"}},
}


def of_the_sample(root: Path) -> list[Statistics]:
    made = settings_from(Document("embeddings.yaml", SETTINGS, {}), root=root)
    context = StageContext(made, Store.open(made.data_root, made.cache_root), "run")
    engine, said = ToyEngine(), []
    for name in made.sources:
        found = discover(context, name, wait=True)
        assert found.listing is not None
        said += [found.listing, found.statistics]
        batches = list(found.manifest.batches)
        said.append(summed("raw_images", name, [run_raw(context, batch) for batch in batches]))
        said.append(summed("rgb_images", name, [run_rgb(context, batch) for batch in batches]))
        for space, model in made.spaces.items():
            accounts = [run_embed(context, space, model, engine, batch) for batch in batches]
            said.append(summed(f"{space}_embeddings", name, accounts))
    said += [refresh_index(context, space).statistics for space in made.spaces]
    return [*said, refresh_catalog(context).statistics]


def row(said: Statistics) -> list[str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in said.reasons.items())
    counts = (said.total, said.processed, said.skipped, said.failed)
    return [said.stage, said.where, said.unit, *map(str, counts), reasons]


def test_its_table_is_what_the_stages_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (looks, settling):
        monkeypatch.setattr(module, "APART", timedelta(0))
    table = PAGE.split("run once:\n\n")[1].split("\n\n")[0].splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert shown == [row(each) for each in of_the_sample(tmp_path)]


def test_every_field_is_explained() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert named == {each.name for each in fields(Statistics)}

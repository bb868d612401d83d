"""A ledger's rows are made anew as they were whatever kind its source is: each kind knows other facts of a picture."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.repair_ledger import repair_ledger
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Ledger, Store
from embeddings_dagster_tests.cli.conftest import isolate
from embeddings_dagster_tests.damage.test_repair import spoil
from embeddings_dagster_tests.encoders import tiny
from embeddings_dagster_tests.shop import open_shop, picture, tiny_png

SOURCES = {
    "folder": {"kind": "folder", "path": "pictures"},
    "scraped": {"kind": "scraped", "path": "scraped"},
    "comics": {"kind": "comics", "path": "specs", "images": "pages"},
    "catalog": {"kind": "catalog", "path": "products.csv", "download": {"private_hosts": ["127.0.0.1"]}},
}


def paint(file: Path, number: int) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    tiny.picture(number).save(file)
    return file.name


def make_inputs(root: Path, url: str) -> None:
    """Five pictures for each kind of source, one of them without its picture."""
    for number in range(4):
        paint(root / "pictures" / f"{number}.png", number)
        paint(root / "pages" / f"{number}.png", number)
    (root / "pictures" / "broken.png").write_bytes(b"no picture")
    lines = ["product_id,title,image_url"]
    for number in range(5):
        lines.append(f"p{number},jacket {number},{url}/{number}.png")
        spec = {"page_image_path": f"E:\\lib\\{number}.png", "panels": [{"bbox": [0, 0, 9, 9], "description": "a"}]}
        (root / "specs").mkdir(exist_ok=True)
        (root / "specs" / f"{number}.json").write_text(json.dumps(spec))
    (root / "products.csv").write_text("\n".join(lines) + "\n")
    for day, numbers in {"monday": (0, 1, 2), "tuesday": (3, 4)}.items():
        items = [
            {
                "item_id": f"{number}",
                "title": f"thing {number}",
                "price": number,
                "local_image_paths": [f"{number}.png"],
            }
            for number in numbers
        ]
        for number in numbers[:-1]:
            paint(root / "scraped" / day / f"{number}.png", number)
        (root / "scraped" / day).mkdir(exist_ok=True)
        (root / "scraped" / day / "batch.json").write_text(json.dumps({"items": items}))


def opened(root: Path, kind: str) -> StageContext:
    told = {"batch_images": 3, "sources": {"it": SOURCES[kind]}}
    settings = settings_from(Document("embeddings.yaml", told, {}), root=root)
    return StageContext(settings, Store.open(settings.data_root, settings.cache_root), "test")


def rows(ledger: Ledger) -> dict[str, pa.Table]:
    manifest = ledger.latest()
    assert manifest is not None
    columns = [
        name for name in ledger.rows(manifest, next(iter(manifest.batches))).column_names if name != "first_seen"
    ]
    return {batch: ledger.rows(manifest, batch).select(columns) for batch in manifest.batches}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_ledger_of_any_kind_is_made_anew_row_by_row(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch)
    with open_shop() as shop:
        for number in range(4):
            shop[f"/{number}.png"] = picture(tiny_png(number))
        make_inputs(tmp_path, shop.url(""))
        context = opened(tmp_path, kind)
        for batch in sorted(discover(context, "it", wait=True, allow_removals=True).manifest.batches):
            run_raw(context, batch)
        before = rows(context.store.ledger("it"))
        assert len(before) == 2
        assert sum(map(len, before.values())) == 5
        for pattern, lost in {"parts/*": 1, "*/*": 2}.items():  # one part; everything, its manifests too
            files = sorted((tmp_path / "data" / "sources" / "it").glob(pattern))
            spoil(*(files if lost == 2 else files[:1]))
            context = opened(tmp_path, kind)
            assert verify(context.store)
            made = repair_ledger(context, "it")
            assert len(made.batches) == len(made.proven) == lost
            assert made.unnamed == {}
            assert rows(context.store.ledger("it")) == before
            assert verify(opened(tmp_path, kind).store) == []
        assert str(discover(opened(tmp_path, kind), "it", wait=True)) == "source it: 5 unchanged"

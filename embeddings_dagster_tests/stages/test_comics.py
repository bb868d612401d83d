"""Page specs from the list to pictures with regions: what is wrong with one costs that one, and what heals is taken."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store

BATCH = "comics__Foo"


class Library:
    """Specs in `specs/`, pictures in `pages/`; every page of the book Foo is one batch."""

    def __init__(self, root: Path, *, path: str = "specs", batches: str = "book") -> None:
        self.root = root
        comics = {"kind": "comics", "path": path, "images": "pages", "batches": batches}
        made = settings_from(Document("embeddings.yaml", {"sources": {"comics": comics}}, {}), root=root)
        self.context = StageContext(made, Store.open(made.data_root, made.cache_root), "run")
        self._clock = 10**18
        self.picture("stray.png")

    def picture(self, name: str) -> None:
        file = self.root / "pages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 90), "teal").save(file)
        self._touch(file)

    def spec(self, name: str, *panels: Any, data: str | None = None) -> None:
        file = self.root / "specs" / "Foo" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        value = {"page_image_path": f"E:\\lib\\Foo\\{name}.png", "panels": list(panels), "title": name}
        file.write_text(json.dumps(value) if data is None else data)
        self._touch(file)

    def run(self) -> tuple[Account, Account]:
        discover(self.context, "comics", wait=True, allow_removals=True)
        return run_raw(self.context, BATCH), run_rgb(self.context, BATCH)

    def rows(self, dataset: str) -> list[dict[str, Any]]:
        chain = self.context.store.chain(dataset, BATCH)
        manifest = chain.latest()
        assert manifest is not None
        return list(chain.rows(manifest).to_pylist())

    def failures(self, dataset: str) -> dict[tuple[str, int], str]:
        chain = self.context.store.chain(dataset, BATCH)
        manifest = chain.latest()
        assert manifest is not None
        return {(each.image_id, each.region): each.error_class for each in chain.failures(manifest)}

    def _touch(self, file: Path) -> None:
        """A time of its own for each state of a file, as no coarse clock can promise."""
        self._clock += 10**9
        os.utime(file, ns=(self._clock, self._clock))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        monkeypatch.delenv(name)
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    return Library(tmp_path)


def test_a_page_is_region_0_and_its_panels_follow_with_box_and_text(library: Library) -> None:
    library.spec("p1", {"bbox": [30, 10, 55, 80], "text": "Hi"}, {"rect": [0, 0, 0.5, 1], "caption": "Later"})
    library.picture("Foo/p1.png")
    library.run()
    (raw,) = library.rows("raw_images")
    assert json.loads(raw["metadata"])["title"] == "p1"
    assert raw["location"] == "Foo/p1.png"
    regions = {row["region"]: (row["box"], row["text"]) for row in library.rows("rgb_images")}
    assert regions == {
        0: (None, None),
        1: ({"x": 30, "y": 10, "w": 25, "h": 70}, "Hi"),
        2: ({"x": 0, "y": 0, "w": 30, "h": 90}, "Later"),
    }


def test_what_is_wrong_with_one_costs_that_one_and_heals_when_it_is_mended(library: Library) -> None:
    good = {"panel_coords": [0, 0, 30, 30]}
    library.spec("p1", good, {"panel_coords": [500, 0, 30, 30]}, {"text": "no box"}, good)
    library.picture("Foo/p1.png")
    library.spec("p2", good)
    library.spec("p3", data="{oops")
    library.spec("p4", good)
    library.picture("Foo/p4.png")
    raw, _ = library.run()
    assert (raw.total, raw.processed, raw.failed) == (4, 2, 2)
    assert library.failures("raw_images") == {
        ("comics:Foo/p2.json", 0): "ReadFailed",
        ("comics:Foo/p3.json", 0): "BadRecord",
    }
    assert library.failures("rgb_images") == {
        ("comics:Foo/p1.json", 2): "EmptyRegion",
        ("comics:Foo/p1.json", 3): "EmptyRegion",
    }
    kept = [(row["image_id"], row["region"]) for row in library.rows("rgb_images")]
    assert kept == [*(("comics:Foo/p1.json", region) for region in (0, 1, 4)),
                    *(("comics:Foo/p4.json", region) for region in (0, 1))]  # fmt: skip
    library.picture("Foo/p2.png")
    library.spec("p3", good)
    library.picture("Foo/p3.png")
    library.spec("p1", good, good)
    raw, _ = library.run()
    assert (raw.processed, raw.skipped, raw.failed) == (3, 1, 0)
    assert (library.failures("raw_images"), library.failures("rgb_images")) == ({}, {})
    assert len(library.rows("rgb_images")) == 3 + 2 + 2 + 2


def test_only_the_page_whose_spec_changed_is_done_again(library: Library) -> None:
    for name in ("p1", "p2", "p3"):
        library.spec(name, {"panel_coords": [0, 0, 30, 30], "text": "Hi"})
        library.picture(f"Foo/{name}.png")
    library.run()
    raw, rgb = library.run()
    assert (raw.skipped, rgb.processed) == (3, 0)
    library.spec("p2", {"panel_coords": [0, 0, 30, 30], "text": "Bye"})
    raw, rgb = library.run()
    assert (raw.processed, raw.skipped) == (1, 2)
    assert {row["text"] for row in library.rows("rgb_images") if row["region"]} == {"Hi", "Bye"}


@pytest.mark.parametrize("batches", ["book", "list"])
def test_pages_missing_from_a_list_that_is_being_written_are_not_gone_yet(tmp_path: Path, batches: str) -> None:
    library = Library(tmp_path, path="specs/list.txt", batches=batches)
    names = ("p1", "p2", "p3")
    for name in names:
        library.spec(name)
    looks = library.context.store.cache / "looks" / "comics.parquet"

    def tick(*listed: str, allow_removals: bool = False) -> tuple[int, int]:
        """What a look three seconds after the one before finds new and gone."""
        if listed:
            (library.root / "specs" / "list.txt").write_text("".join(f"Foo/{name}.json\n" for name in listed))
            library._touch(library.root / "specs" / "list.txt")
        if looks.exists():
            seen = pq.read_table(looks)
            earlier = pc.subtract(seen["seen_at"], pa.scalar(timedelta(seconds=3)))
            pq.write_table(seen.set_column(3, "seen_at", earlier), looks)
        found = discover(library.context, "comics", wait=False, allow_removals=allow_removals)
        return found.new, found.gone

    tick(*names)
    assert tick() == (3, 0)
    assert tick("p1") == (0, 0), "half written"
    assert tick(*names) == (0, 0)
    assert tick() == (0, 0)
    assert tick("p1") == (0, 0)
    assert tick(allow_removals=True) == (0, 2), "so it is meant"

"""Page specs from the list to pictures with regions: what is wrong with one costs that one, and what heals is taken."""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.stages.discover import discover
from embeddings_dagster_tests.stages.library import Library


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

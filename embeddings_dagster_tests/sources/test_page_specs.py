import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.errors import SourceError
from embeddings_dagster.images.boxes import resolve
from embeddings_dagster.sources.comics import ComicsSource
from embeddings_dagster.sources.page_specs import Made, make_page_specs
from embeddings_dagster.sources.page_specs.coco import read_predictions
from embeddings_dagster.sources.page_specs.mapping import MappingRow, read_mapping
from embeddings_dagster.sources.page_specs.page import spec_path, text_panels

NEW = (
    "image_path,image_exists,image_rel_path,predictions_json_id,predictions_json_filename,coco_id_exists,"
    "coco_id_reconstructed,vlm_json_filename,vlm_json_path,vlm_json_exists,vlm_json_rel_path"
)
OLDER = (
    "image_path,image_exists,image_rel_path,coco_image_id,coco_id_exists,coco_file_name,vlm_json_filename,"
    "vlm_json_path,vlm_json_exists,vlm_json_rel_path"
)


def box(image: Any, *bbox: float, category: Any = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), **more}


class Desk:
    """Inputs in a temporary folder, and the command's work on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = root / "specs"
        (root / "texts").mkdir()
        self.mapping(NEW)
        self.coco([], [])

    def mapping(self, *lines: str, encoding: str = "utf-8") -> None:
        (self.root / "mapping.csv").write_bytes(("\n".join(lines) + "\n").encode(encoding))

    def coco(self, images: list[Any], annotations: list[Any]) -> None:
        categories = [{"id": number, "name": name} for number, name in enumerate(("panel", "character", "balloon"), 1)]
        value = {"images": images, "annotations": annotations, "categories": categories}
        (self.root / "coco.json").write_text(json.dumps(value))

    def text(self, name: str, *panels: Any) -> None:
        path = self.root / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"panels": list(panels)}))

    def page(self, number: int, boxes: list[list[float]], texts: list[str]) -> str:
        """One page `Foo/p<number>.jpg`; returns its row."""
        name = f"p{number}"
        coco = json.loads((self.root / "coco.json").read_text())
        image = {"id": f"Foo_{name}.jpg", "file_name": f"Foo\\{name}.jpg", "width": 600, "height": 900}
        self.coco([*coco["images"], image], [*coco["annotations"], *(box(image["id"], *each) for each in boxes)])
        self.text(f"Foo_{name}.json", *({"text": {"dialogue": [each]}} for each in texts))
        picture, text = f"Foo\\{name}.jpg", f"Foo_{name}.json"
        return f"E:\\lib\\{picture},True,{picture},{image['id']},{picture},True,,{text},E:\\vlm\\{text},True,{text}"

    def make(self, **options: Any) -> Made:
        with_defaults = {"text_root": self.root / "texts", "subset": "perfect", "min_score": 0.5, "categories": [1],
                         "list_name": "pages.txt", **options}  # fmt: skip
        return make_page_specs(self.root / "mapping.csv", self.root / "coco.json", self.out, **with_defaults)

    def spec(self, name: str) -> Any:
        return json.loads((self.out / name).read_text())

    def listed(self) -> list[str]:
        return (self.out / "pages.txt").read_text().splitlines()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def why(made: Made) -> list[tuple[int, str, str]]:
    return [(each.line, each.reason, each.detail) for each in made.left_out]


def test_a_page_is_a_spec_with_boxes_and_texts_paired_in_reading_order(desk: Desk) -> None:
    row = desk.page(1, [[310, 10.5, 280, 400], [10, 10.5, 280, 400], [10, 420, 580, 400]], ["one", "two", "three"])
    desk.mapping(NEW, row)
    made = desk.make()
    assert (made.rows, made.written, made.changed, made.left_out) == (1, 1, 1, ())
    nothing = {"narration": [], "sfx": []}
    assert desk.spec("Foo/p1.jpg.json") == {
        "page_image_path": "E:\\lib\\Foo\\p1.jpg",
        "panels": [
            {"panel_coords": [10, 10.5, 280, 400], "text": {"dialogue": ["one"], **nothing}},
            {"panel_coords": [310, 10.5, 280, 400], "text": {"dialogue": ["two"], **nothing}},
            {"panel_coords": [10, 420, 580, 400], "text": {"dialogue": ["three"], **nothing}},
        ],
    }
    assert desk.listed() == ["Foo/p1.jpg.json"]


def test_other_categories_and_unsure_boxes_are_no_panels(desk: Desk) -> None:
    """Theirs: no category filter, so 3,600 of 80,000 pages were left."""
    rows = [desk.page(number, [[10, 10, 200, 200], [10, 300, 200, 200]], ["one", "two"]) for number in range(1, 6)]
    coco = json.loads((desk.root / "coco.json").read_text())
    for image in coco["images"]:
        coco["annotations"] += [
            *(box(image["id"], 20, 20, 50, 90, category=category, score=0.99) for category in (2, 3, 7, 7, None)),
            box(image["id"], 15, 15, 190, 190, score=0.49),
            box(image["id"], 15, 15, 190, 190, score=float("nan")),
            box(image["id"], 15, 15, 0, 190),
            box(image["id"], 15, 15, 190),
        ]
    coco["annotations"].append(box("nobody", 1, 2, 3, 4))
    desk.coco(coco["images"], coco["annotations"])
    desk.mapping(NEW, *rows)
    made = desk.make()
    assert (made.written, made.left_out) == (5, ())
    assert all(len(desk.spec(f"Foo/p{number}.jpg.json")["panels"]) == 2 for number in range(1, 6))
    assert made.annotations == {
        "taken": 10, "of another category": 25, "below the least score": 10, "without a usable box": 10,
        "of no image in the file": 1,
    }  # fmt: skip
    assert sum(made.annotations.values()) == len(coco["annotations"])
    assert desk.make(min_score=0.4).reasons == {"boxes and texts differ in number": 5}
    assert desk.make(categories=[1, 2]).reasons == {"boxes and texts differ in number": 5}
    assert desk.make(categories=[2], subset="all").written == 5


def test_perfect_leaves_out_what_all_keeps(desk: Desk) -> None:
    even = desk.page(1, [[10, 10, 200, 200]], ["one"])
    more_boxes = desk.page(2, [[10, 10, 200, 200], [10, 300, 200, 200]], ["one"])
    more_texts = desk.page(3, [[10, 10, 200, 200]], ["one", "two", "three"])
    nothing = desk.page(4, [], [])
    desk.mapping(NEW, even, more_boxes, more_texts, nothing)
    perfect = desk.make()
    assert desk.listed() == ["Foo/p1.jpg.json", "Foo/p4.jpg.json"]
    assert why(perfect) == [
        (3, "boxes and texts differ in number", "2 boxes, 1 texts"),
        (4, "boxes and texts differ in number", "1 boxes, 3 texts"),
    ]
    every = desk.make(subset="all")
    assert (every.written, every.uneven, every.left_out) == (4, 2, ())
    first, second = desk.spec("Foo/p2.jpg.json")["panels"]
    assert (first["text"]["dialogue"], second["text"]["dialogue"]) == (["one"], [])
    page = desk.spec("Foo/p3.jpg.json")
    assert len(page["panels"]) == 1
    assert page["text"]["dialogue"] == ["two", "three"], "what has no box is the page's own"


def test_every_row_is_written_or_left_out_for_a_reason(desk: Desk) -> None:
    good = desk.page(1, [[10, 10, 200, 200]], ["one"])
    no_text = desk.page(2, [[10, 10, 200, 200]], ["one"])
    (desk.root / "texts/Foo_p2.json").unlink()
    broken = desk.page(3, [[10, 10, 200, 200]], ["one"])
    (desk.root / "texts/Foo_p3.json").write_text('{"panels": [')
    no_list = desk.page(4, [[10, 10, 200, 200]], ["one"])
    (desk.root / "texts/Foo_p4.json").write_text('{"error": "refused"}')
    absent = desk.page(5, [[10, 10, 200, 200]], ["one"]).replace("True", "False", 1)
    desk.mapping(
        NEW, good, no_text, broken, no_list, absent, good, "", ",,,,,,,,,,",
        "E:\\lib\\Foo\\p9.jpg,True,Foo\\p9.jpg,,,False,,,,False,",
        "x,True,..\\..\\etc\\p.jpg,Foo_p1.jpg,,,,,,,", "x,True,/etc/p.jpg,Foo_p1.jpg", "x,True,E:\\p.jpg,Foo_p1.jpg",
        ",True,,Foo_p1.jpg",
    )  # fmt: skip
    made = desk.make()
    assert made.rows == 11
    assert made.rows == made.written + len(made.left_out)
    assert (
        made.reasons
        == {
            "its picture has no path that could be used": 4,
            "its text file was not found": 1,
            "its text file cannot be read": 1,
            "its text file has no list of panels": 1,
            "its picture does not exist, says the mapping": 1,
            "an earlier row is the same page": 1,
            "it is not in the predictions": 1,
        }
        or sum(made.reasons.values()) == 10
    )
    told = {line: (reason, detail) for line, reason, detail in why(made)}
    assert told[3] == ("its text file was not found", "Foo_p2.json")
    assert told[4][1].startswith("Foo_p3.json: is not JSON")
    assert told[7] == ("an earlier row is the same page", "line 2")
    assert told[10] == ("it is not in the predictions", "the mapping names no id")
    assert {told[line][0] for line in (11, 12, 13, 14)} == {"its picture has no path that could be used"}
    every = desk.make(subset="all")
    assert every.written == 4
    assert sum(every.without_text.values()) == 3
    assert every.rows == every.written + len(every.left_out)
    assert sorted(path.name for path in desk.root.rglob("*p.jpg*")) == [], "nothing was written elsewhere"


@pytest.mark.parametrize(
    ("image_id", "cell"),
    [
        ("12", "12"), (12, "12"), ("12", "12.0"), ("0012", "12"), (12.0, "0012"), ("Foo_P1.jpg", "foo_p1.JPG"),
        ("Foo/p1.jpg", "Foo\\p1.jpg"),
    ],
)  # fmt: skip
def test_ids_are_compared_as_text(desk: Desk, image_id: Any, cell: str) -> None:
    desk.coco([{"id": image_id, "file_name": "x.jpg"}], [box(image_id, 1, 2, 30, 40)])
    desk.text("t.json", "one")
    desk.mapping(NEW, f"E:\\p1.jpg,True,p1.jpg,{cell},,True,,,,True,t.json")
    assert desk.make().written == 1


def test_annotations_may_write_the_id_of_their_image_otherwise(desk: Desk) -> None:
    desk.coco([{"id": "7", "file_name": "a.jpg"}], [box(7, 1, 2, 30, 40, category="1", score="0.9")])
    desk.text("t.json", "one")
    desk.mapping(NEW, "E:\\p1.jpg,True,p1.jpg,7,,True,,,,True,t.json")
    assert desk.make().written == 1


@pytest.mark.parametrize("cells", ["True,True,t.json", "False,True,t.json", ",,t.json"])
def test_a_reconstructed_id_may_be_an_id_or_a_flag(desk: Desk, cells: str) -> None:
    desk.coco([{"id": "Foo_p1.jpg", "file_name": "Foo/p1.jpg"}], [box("Foo_p1.jpg", 1, 2, 30, 40)])
    desk.text("t.json", "one")
    flag, exists, text = cells.split(",")
    desk.mapping(
        NEW,
        f"E:\\p1.jpg,True,by-name.jpg,,Foo\\p1.jpg,False,{flag},,,{exists},{text}",
        f"E:\\p1.jpg,True,by-id.jpg,,,False,Foo_p1.jpg,,,{exists},{text}",
    )
    assert desk.make().written == 2


def test_an_id_of_two_images_is_not_guessed(desk: Desk) -> None:
    images = [{"id": "1", "file_name": "a.jpg"}, {"id": "1", "file_name": "b.jpg"}, {"id": "A", "file_name": "c.jpg"},
              {"id": "a", "file_name": "c.jpg"}]  # fmt: skip
    desk.coco(images, [box("1", 1, 2, 30, 40)])
    desk.text("t.json", "one")
    desk.mapping(
        NEW, "x,True,p1.jpg,1,,,,,,,t.json", "x,True,p2.jpg,,C.jpg,,,,,,t.json", "x,True,p3.jpg,A,,,,,,,t.json"
    )
    made = desk.make()
    assert why(made)[:2] == [
        (2, "it could be several images of the predictions", "1, 1 (b.jpg)"),
        (3, "it could be several images of the predictions", "A, a"),
    ]
    assert why(made)[2][1] == "boxes and texts differ in number"


def test_older_mappings_other_delimiters_and_encodings_are_read(desk: Desk) -> None:
    desk.coco([{"id": "Été_p1.jpg", "file_name": "x"}], [box("Été_p1.jpg", 1, 2, 30, 40)])
    desk.text("Été_p1.json", "one")
    row = "E:\\lib\\Été\\p1.jpg,True,Été\\p1.jpg,Été_p1.jpg,True,x,Été_p1.json,E:\\v\\Été_p1.json,True,"
    for encoding in ("utf-8-sig", "cp1252", "utf-16"):
        for delimiter in (",", ";", "\t"):
            desk.mapping(OLDER.upper().replace(",", delimiter), row.replace(",", delimiter), encoding=encoding)
            made = desk.make()
            assert (made.written, made.rows) == (1, 1), (encoding, delimiter)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda panels: {"panels": panels},
        lambda panels: {"result": {"panels": panels}},
        lambda panels: {"page": {"Panels": panels}},
        lambda panels: {"panels": None, "data": {"panels": panels}},
        lambda panels: [{"panels": panels}, {"panels": []}],
        lambda panels: [{"result": {"panels": panels}}],
    ],
)
def test_the_panels_of_a_text_file_are_found_where_they_are(wrap: Callable[[list[Any]], Any]) -> None:
    found = text_panels(wrap(["one", {"text": "two"}, {"caption": "three"}, None]))
    assert found is not None
    assert [lines.text() for lines in found] == ["one", "two", "three", None]


@pytest.mark.parametrize("value", [None, [], {}, "x", {"panels": "x"}, {"result": []}, [[]]])
def test_a_text_file_without_panels_is_not_one_of_none(value: Any) -> None:
    assert text_panels(value) is None


def test_specs_that_do_not_change_are_not_written_again_and_the_list_is_whole(desk: Desk) -> None:
    rows = [desk.page(number, [[10, 10, 200, 200]], ["one"]) for number in (1, 2)]
    desk.mapping(NEW, *rows)
    desk.make()
    spec = desk.out / "Foo/p1.jpg.json"
    os.utime(spec, ns=(1, 1))
    assert desk.make().changed == 0
    assert spec.stat().st_mtime_ns == 1
    desk.text("Foo_p1.json", "another")
    assert desk.make().changed == 1
    assert desk.spec("Foo/p1.jpg.json")["panels"][0]["text"]["dialogue"] == ["another"]
    desk.mapping(NEW, rows[1])
    desk.make()
    assert desk.listed() == ["Foo/p2.jpg.json"]
    assert not list(desk.out.rglob("*.tmp"))


def test_a_file_that_is_no_spec_is_never_replaced(desk: Desk) -> None:
    desk.mapping(NEW, desk.page(1, [[10, 10, 200, 200]], ["one"]), desk.page(2, [[10, 10, 200, 200]], ["one"]))
    (desk.out / "Foo").mkdir(parents=True)
    (desk.out / "Foo/p1.jpg.json").write_text('{"my": "notes"}')
    made = desk.make()
    assert why(made) == [
        (2, "its spec could not be written",
         "a file that is no page spec is there; move it away, or choose another folder"),
    ]  # fmt: skip
    assert desk.spec("Foo/p1.jpg.json") == {"my": "notes"}
    assert desk.listed() == ["Foo/p2.jpg.json"]


def test_a_link_leads_no_spec_out_of_the_folder(desk: Desk) -> None:
    desk.mapping(NEW, desk.page(1, [[10, 10, 200, 200]], ["one"]))
    desk.out.mkdir()
    (desk.root / "elsewhere").mkdir()
    (desk.out / "Foo").symlink_to(desk.root / "elsewhere")
    assert why(desk.make())[0][2] == "a link leads out of the folder of specs"
    assert list((desk.root / "elsewhere").iterdir()) == []


def test_a_name_too_long_costs_its_page_alone(desk: Desk) -> None:
    long = desk.page(1, [[10, 10, 200, 200]], ["one"]).replace("Foo\\p1.jpg", f"Foo\\{'x' * 300}.jpg")
    desk.mapping(NEW, long, desk.page(2, [[10, 10, 200, 200]], ["one"]))
    made = desk.make()
    assert (made.written, made.reasons) == (1, {"its spec could not be written": 1})


def test_what_was_made_is_read_by_the_source_with_the_boxes_of_the_predictions(desk: Desk) -> None:
    boxes = {1: [[10, 20, 280, 400], [310, 20, 280.5, 400]], 2: [[0, 0, 600, 900]], 3: [[5, 5, 100, 100]]}
    desk.mapping(
        NEW, *(desk.page(number, each, [f"text {at}" for at in range(len(each))]) for number, each in boxes.items())
    )
    assert desk.make().written == 3
    for number in boxes:
        picture = desk.root / "pages" / "Foo" / f"p{number}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(b"picture")
    source = ComicsSource("comics", desk.out / "pages.txt", images=desk.root / "pages", cache=desk.root / "cache")
    scan = source.scan()
    assert scan.entries["local_id"].to_pylist() == [f"Foo/p{number}.jpg.json" for number in boxes]
    assert scan.entries["location"].to_pylist() == [f"Foo/p{number}.jpg" for number in boxes]
    for (local_id, _), record in source.records("", scan.entries).items():
        wanted = boxes[int(local_id[5])]
        assert [list(region.values) for region in record.regions] == wanted
        assert [region.text for region in record.regions] == [f"text {at}" for at in range(len(wanted))]
        assert [resolve(each.form, each.values, 600, 900)[0] for each in record.regions] == [each[0] for each in wanted]


def test_names_that_a_list_could_mistake_are_read_back(desk: Desk) -> None:
    names = [" blank.jpg", '"quoted".jpg', "#1.jpg", "été 100%.jpg"]
    desk.coco([{"id": "1", "file_name": "x"}], [box("1", 1, 2, 30, 40)])
    desk.text("t.json", "one")
    row = "x,True,{},1,,,,,,,t.json"
    desk.mapping(NEW, *(row.format('"' + name.replace('"', '""') + '"') for name in names))
    made = desk.make()
    assert made.written == 4
    (desk.root / "x").write_bytes(b"")
    source = ComicsSource("comics", desk.out / "pages.txt", images=desk.root, cache=desk.root / "cache")
    scan = source.scan()
    assert {each.fault for each in source.records("", scan.entries).values()} == {None}
    assert len(scan.entries) == 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("mapping.csv", "a,b\n1,2\n", r"has neither a column image_rel_path nor image_path; its first line has a, b"),
        ("mapping.csv", "", "its first line has nothing"),
        ("mapping.csv", None, r"the mapping '.*' cannot be read \(No such file"),
        ("coco.json", None, r"the predictions '.*' cannot be read \(No such file"),
        ("coco.json", "{", "are not JSON"),
        ("coco.json", "[" * 100_000, "are not JSON"),
        ("coco.json", "{}", "hold no list 'annotations'"),
        ("coco.json", "7", "hold no list 'annotations'"),
    ],
)
def test_inputs_that_cannot_be_read_are_named(desk: Desk, name: str, content: str | None, reason: str) -> None:
    (desk.root / name).unlink()
    if content is not None:
        (desk.root / name).write_text(content)
    with pytest.raises(SourceError, match=reason):
        desk.make()


def test_no_input_is_ever_overwritten(desk: Desk) -> None:
    with pytest.raises(SourceError, match="is the folder of texts, too"):
        desk.make(text_root=desk.out)
    with pytest.raises(SourceError, match="would take the place of what is read"):
        make_page_specs(desk.root / "mapping.csv", desk.root / "coco.json", desk.root, text_root=desk.root / "texts",
                        subset="all", min_score=0.5, categories=[1], list_name="mapping.csv")  # fmt: skip
    with pytest.raises(SourceError, match="does not exist; correct --text-root"):
        desk.make(text_root=desk.root / "no")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["images", "annotations", "id", "image_id", "bbox", "category_id", "score", "file_name"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(ANYTHING)
@settings(max_examples=80, deadline=None)
def test_any_json_is_predictions_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(json.dumps(value))
    try:
        found = read_predictions(path, categories=[1], min_score=0.5)
    except SourceError:
        return
    assert sum(map(len, found.boxes.values())) == found.annotations["taken"]


@given(st.binary(max_size=120))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_a_mapping_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_bytes(b"image_rel_path,image_path\n" + data)
    try:
        rows = read_mapping(path)
    except SourceError:
        return
    for row in rows:
        spec_path(row)


@given(st.text(max_size=30))
def test_a_spec_never_leaves_its_folder(text: str) -> None:
    path = spec_path(MappingRow(1, text, text, None, (), (), ()))
    assert os.path.normpath(path) == (path or ".")
    assert not os.path.isabs(path)
    assert not path.startswith("..")

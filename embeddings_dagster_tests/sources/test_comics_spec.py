"""Page specs as they are found: `FORMATS.md` section 3, and what else strangers write."""

import json
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.errors import BadRecord, EmptyRegion, NoPicture
from embeddings_dagster.images.boxes import FORMS, resolve
from embeddings_dagster.sources.base import RegionRecord
from embeddings_dagster.sources.comics.panels import BOX_KEYS
from embeddings_dagster.sources.comics.spec import IMAGE_KEYS, MOST_PANELS, PANEL_KEYS, PageSpec, read_spec
from embeddings_dagster.sources.comics.text import KINDS

NOTHING: dict[str, list[str]] = {"dialogue": [], "narration": [], "sfx": []}


def read(value: Any) -> PageSpec:
    return read_spec(json.dumps(value).encode(), "Foo/p001.json")


def panels(*values: Any, **more: Any) -> tuple[RegionRecord, ...]:
    return read({"image": "p.jpg", "panels": list(values), **more}).record.regions


def lines(panel: Any) -> Any:
    (found,) = read({"image": "p.jpg", "panels": [panel]}).record.metadata["panels"]  # type: ignore[misc, union-attr]
    return found


def test_a_page_spec_is_a_page_with_its_panels_in_order() -> None:
    page = read(
        {
            "page_image_path": "E:\\lib\\Foo\\p001.jpg",
            "panels": [
                {
                    "panel_coords": [10, 20, 300, 400],
                    "text": {"dialogue": ["Hi", "Yo"], "narration": [], "sfx": ["BOOM"]},
                },
                {"panel_coords": [320, 20, 300, 400], "text": {"narration": "Later."}},
            ],
            "title": "Foo",
        }
    )
    assert page.image == "E:\\lib\\Foo\\p001.jpg"
    assert page.problems == ()
    assert page.record.fault is None
    assert page.record.regions == (
        RegionRecord(1, "xywh", (10, 20, 300, 400), "Hi\nYo\nBOOM"),
        RegionRecord(2, "xywh", (320, 20, 300, 400), "Later."),
    )
    assert page.record.metadata == {
        "image_path": "E:\\lib\\Foo\\p001.jpg",
        "panel_count": 2,
        "panels": [
            {"dialogue": ["Hi", "Yo"], "narration": [], "sfx": ["BOOM"]},
            {"dialogue": [], "narration": ["Later."], "sfx": []},
        ],
        "title": "Foo",
    }


def test_a_list_stands_for_its_first_element() -> None:
    spec = {"image": "p.jpg", "panels": [[1, 2, 3, 4]]}
    assert read([spec, {"image": "other.jpg"}]) == read(spec)


@pytest.mark.parametrize("key", [*IMAGE_KEYS, "Page_Image_Path", "IMAGE"])
def test_the_picture_is_found_under_any_of_its_keys(key: str) -> None:
    assert read({key: "a/p.jpg"}).image == "a/p.jpg"


def test_the_first_key_that_names_a_picture_counts() -> None:
    assert read({"path": "no.jpg", "img_path": "yes.jpg", "image": "  ", "image_path": None}).image == "yes.jpg"


@pytest.mark.parametrize("key", [*PANEL_KEYS, "VLM_Panels", "PANELS"])
def test_the_panels_are_found_under_any_of_their_keys(key: str) -> None:
    (region,) = read({"image": "p.jpg", key: [{"panel_coords": [1, 2, 30, 40]}]}).record.regions
    assert region == RegionRecord(1, "xywh", (1, 2, 30, 40))


def test_the_first_key_that_holds_a_list_of_panels_counts() -> None:
    page = read({"image": "p.jpg", "annotations": [], "boxes": [[1, 2, 3, 4]], "panels": None, "VLM_panels": "none"})
    assert page.record.metadata["panel_count"] == 1


@pytest.mark.parametrize(
    ("panel", "form", "values"),
    [
        ({"panel_coords": [1, 2, 30, 40], "bbox": [9, 9, 9, 9]}, "xywh", (1, 2, 30, 40)),
        ({"bbox": [1, 2, 30, 40]}, "xywh_or_xyxy", (1, 2, 30, 40)),
        ({"BOX": ["1", 2.5, 30, 40]}, "xywh_or_xyxy", (1, 2.5, 30, 40)),
        ({"rect": {"x": 1, "y": 2, "w": 30, "h": 40}}, "xywh", (1, 2, 30, 40)),
        ({"bbox": {"Left": 1, "Top": 2, "Width": 30, "Height": 40}}, "xywh", (1, 2, 30, 40)),
        ({"box": {"x1": 1, "y1": 2, "x2": 31, "y2": 42}}, "polygon", (1, 2, 31, 42)),
        ({"box": {"left": 1, "top": 2, "right": 31, "bottom": 42}}, "polygon", (1, 2, 31, 42)),
        ({"x": 1, "y": 2, "width": 30, "height": 40}, "xywh", (1, 2, 30, 40)),
        ({"polygon": [1, 2, 30, 2, 30, 40]}, "polygon", (1, 2, 30, 2, 30, 40)),
        ({"polygon": [[1, 2], [30, 2], [30, 40]]}, "polygon", (1, 2, 30, 2, 30, 40)),
        ({"polygon": [{"x": 1, "y": 2}, {"x": 30, "y": 40}]}, "polygon", (1, 2, 30, 40)),
        ({"segmentation": [[1, 2, 30, 2, 30, 40], [5, 5, 6, 6]]}, "polygon", (1, 2, 30, 2, 30, 40, 5, 5, 6, 6)),
        ({"segmentation": [[[1, 2], [30, 40]]]}, "polygon", (1, 2, 30, 40)),
        ({"bbox": [[1, 2], [31, 42]]}, "polygon", (1, 2, 31, 42)),
        ({"bbox": [[1, 2, 30, 40]]}, "xywh_or_xyxy", (1, 2, 30, 40)),
        ({"panel_coords": None, "bbox": [1, 2, 30, 40]}, "xywh_or_xyxy", (1, 2, 30, 40)),
        ({"panel_coords": ["a", 1, 2, 3], "rect": [1, 2, 30, 40]}, "xywh_or_xyxy", (1, 2, 30, 40)),
        ([1, 2, 30, 40], "xywh_or_xyxy", (1, 2, 30, 40)),
        ([[1, 2], [30, 2], [30, 40]], "polygon", (1, 2, 30, 2, 30, 40)),
    ],
)
def test_a_box_is_read_in_every_way_it_is_written(panel: Any, form: str, values: tuple[float, ...]) -> None:
    """Theirs: the coordinates of boxes that were not in `panel_coords` were lost."""
    assert panels(panel) == (RegionRecord(1, form, values),)


@pytest.mark.parametrize(
    ("panel", "reason"),
    [
        ({}, "it has no box"),
        ({"text": "Hi"}, "it has no box"),
        (None, "it is nothing, not an object"),
        (7, "it is a number, not an object"),
        ({"panel_coords": [float("nan"), 1, 2, 3]}, "its panel_coords holds 'nan' where a finite number belongs"),
        ({"bbox": [1, 2, 3]}, "its bbox has 3 values, not 4"),
        ({"bbox": [1, 2, 3, None]}, "its bbox holds nothing where a number belongs"),
        ({"bbox": [1, 2, 3, True]}, "its bbox holds true or false"),
        ({"bbox": "1,2,3,4"}, "its bbox is text, not a list of numbers"),
        ({"bbox": {"x": 1}}, "its bbox is an object without x, y, w, h"),
        ({"segmentation": {"counts": "abc", "size": [1, 2]}}, "its segmentation is an object without"),
        ({"polygon": [1, 2, 3]}, "its polygon has 3 values"),
        ({"polygon": [[1, 2], [3]]}, "its polygon has a point of one number"),
        ({"polygon": [1, [2, 3]]}, "its polygon mixes numbers and points"),
    ],
)
def test_a_bad_panel_has_a_reason_and_moves_no_other(panel: Any, reason: str) -> None:
    good = {"panel_coords": [1, 2, 30, 40], "text": "Hi"}
    first, bad, last = panels(good, panel, good)
    assert (first.region, bad.region, last.region) == (1, 2, 3)
    assert first.values == last.values == (1, 2, 30, 40)
    assert (first.fault, last.fault) == ("", "")
    assert bad.fault.startswith(f"panel 2 of Foo/p001.json: {reason}")
    assert "give it panel_coords [x, y, width, height]" in bad.fault


def test_a_panel_without_a_box_keeps_its_text() -> None:
    with_text, only_text = panels({"text": "Hi"}, "Yo")
    assert (with_text.text, only_text.text) == ("Hi", "Yo")


@pytest.mark.parametrize(
    ("panel", "expected"),
    [
        ({"text": "Hi"}, {"dialogue": ["Hi"]}),
        ({"text": ["Hi", " ", "Yo"]}, {"dialogue": ["Hi", "Yo"]}),
        ({"text": {"Dialogue": "Hi", "sfx": "BOOM"}}, {"dialogue": ["Hi"], "sfx": ["BOOM"]}),
        ({"text": {"caption": "Later", "narration": ["Then"]}}, {"narration": ["Then", "Later"]}),
        ({"dialogue": "Hi", "description": "A dog"}, {"dialogue": ["Hi"], "narration": ["A dog"]}),
        ({"text": None, "caption": "A"}, {"narration": ["A"]}),
        (
            {
                "speakers": [
                    {"speech_type": "Speech", "dialogue": "Hi"},
                    {"speech_type": "narration box", "text": "Later"},
                    {"speech_type": "caption", "dialogue": ["Then"]},
                    {"speech_type": "sound effect", "text": "BANG"},
                    {"speech_type": "SFX", "text": "POW"},
                    {"dialogue": None, "text": "Yo"},
                    {"speech_type": 3},
                    "Hey",
                    None,
                ]
            },
            {"dialogue": ["Hi", "Yo", "Hey"], "narration": ["Later", "Then"], "sfx": ["BANG", "POW"]},
        ),
        ({"text": {"speakers": {"text": "Hi"}}}, {"dialogue": ["Hi"]}),
        ({"text": {"dialogue": ["Ha", "Ha"]}, "speakers": [{"dialogue": "Ha"}]}, {"dialogue": ["Ha", "Ha"]}),
        ({"text": {"dialogue": [{"speaker": "A", "text": "Hi"}, 7, True, None]}}, {"dialogue": ["Hi", "7"]}),
        ({"text": 5.5}, {"dialogue": ["5.5"]}),
        ({"text": "half \ud83d"}, {"dialogue": ["half \ufffd"]}),
    ],
)
def test_text_is_read_in_every_way_it_is_written(panel: Any, expected: dict[str, list[str]]) -> None:
    assert lines(panel) == {**NOTHING, **expected}


def test_the_text_of_a_panel_is_plain_lines_and_no_repr_of_an_object() -> None:
    """Theirs: the saved text was a Python repr."""
    (panel,) = panels({"panel_coords": [1, 2, 3, 4], "text": {"dialogue": ["Hi"], "sfx": ["'BOOM'"]}})
    assert panel.text == "Hi\n'BOOM'"


def test_region_0_is_the_page_and_there_only_when_the_page_itself_has_text() -> None:
    assert [each.region for each in panels([1, 2, 3, 4])] == [1]
    page, panel = panels([1, 2, 3, 4], description="A dog runs", Caption="Chapter 1")
    assert (page.region, page.text, page.values) == (0, "Chapter 1\nA dog runs", ())
    assert panel.region == 1


@pytest.mark.parametrize("value", [{}, {"panels": [[1, 2, 3, 4]]}, {"image": ""}, {"image": 7}, {"path": "E:\\"}])
def test_a_spec_that_names_no_picture_is_a_fault(value: Any) -> None:
    fault = read(value).record.fault
    assert isinstance(fault, NoPicture)
    assert str(fault) == 'Foo/p001.json: names no picture; give it a "page_image_path"'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"image": "p.jpg"', r"Foo/p001\.json: is not JSON: .* line 1, column 18"),
        (b"[]", "holds no object"),
        (b'"p.jpg"', "holds no object"),
        (b"[[1]]", "holds no object"),
        (b"\x00\x01\xff", "is not JSON"),
    ],
)
def test_a_spec_that_makes_no_sense_is_a_fault(data: bytes, reason: str) -> None:
    fault = read_spec(data, "Foo/p001.json").record.fault
    assert isinstance(fault, BadRecord)
    with pytest.raises(BadRecord, match=reason):
        raise fault


def test_other_keys_are_metadata_where_they_are_plain() -> None:
    page = read(
        {
            "image": "p.jpg", "panels": [], "series": "Foo", "number": 3, "rating": 4.5, "colour": True,
            "tags": ["a", "b"], "empty": None, "nested": {"a": 1}, "lists": [[1]], "panel_count": 99,
        }
    )  # fmt: skip
    assert page.record.metadata == {
        "image_path": "p.jpg", "panel_count": 0, "panels": [], "series": "Foo", "number": 3, "rating": 4.5,
        "colour": True, "tags": ["a", "b"],
    }  # fmt: skip
    assert page.problems == ()


def test_what_is_too_much_is_left_out_and_told() -> None:
    page = read(
        {"image": "p.jpg", "long": "x" * 10_001, "nan": float("nan"), "big": 2**70, "many": [1] * 101, "k" * 101: 1}
    )
    assert page.record.metadata == {"image_path": "p.jpg", "panel_count": 0, "panels": []}
    assert len(page.problems) == 5
    many = read({"image": "p.jpg", **{f"k{number}": 1 for number in range(70)}})
    assert len(many.record.metadata) == 3 + 64
    assert many.problems == ("has more than 64 keys beside panels; the rest is left out",)


def test_panels_that_are_no_list_are_told() -> None:
    page = read({"image": "p.jpg", "Panels": {"0": {"bbox": [0, 0, 9, 9]}}, "boxes": None})
    assert page.record.regions == ()
    assert page.problems == ("'Panels' is no list of panels; the page is taken without any",)
    assert read({"image": "p.jpg", "panels": None}).problems == ()


def test_a_spec_between_fences_and_with_a_comma_too_many_is_read() -> None:
    page = read_spec(b'```json\n{"image": "p.jpg", "panels": [[0, 0, 9, 9],],}\n```', "p.json")
    assert (page.image, [each.region for each in page.record.regions]) == ("p.jpg", [1])


def test_a_name_that_is_there_twice_is_told() -> None:
    page = read_spec(b'{"image": "a.jpg", "image": "b.jpg"}', "p.json")
    assert (page.image, page.problems) == ("b.jpg", ("names 'image' twice; the last counts",))


def test_more_panels_than_region_numbers_are_cut_off_and_told() -> None:
    page = read({"image": "p.jpg", "panels": [[1, 2, 3, 4]] * (MOST_PANELS + 2)})
    assert page.record.regions[-1].region == MOST_PANELS
    assert page.problems == ("has 32,769 panels; those after the first 32,767 are left out",)
    assert page.record.fault is None


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
KEYS = st.sampled_from([*IMAGE_KEYS, *PANEL_KEYS, *(key for key, _ in BOX_KEYS), "text", "speakers", "speech_type",
                        "dialogue", "caption", "x", "y", "w", "h", "x1", "Panels", "TEXT"])  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=6),
    max_leaves=25,
)
PANEL = st.dictionaries(KEYS, ANYTHING | st.lists(st.floats() | st.integers(-9, 99), max_size=5), max_size=4)
SPEC = st.dictionaries(KEYS, ANYTHING, max_size=5) | st.fixed_dictionaries(
    {"image": st.text(min_size=1), "panels": st.lists(PANEL | ANYTHING, max_size=5)}
)


@given(SPEC | ANYTHING)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_record_that_every_store_can_hold(value: Any) -> None:
    page = read_spec(json.dumps(value).encode(), "p.json")
    record = page.record
    assert (record.fault is None) == bool(page.image)
    assert record.digest() == read_spec(json.dumps(value).encode(), "p.json").record.digest()
    json.dumps(record.metadata, allow_nan=False, ensure_ascii=False).encode()
    pa.array([each.text for each in record.regions], pa.string())
    numbered = [each.region for each in record.regions if each.region]
    assert numbered == list(range(1, len(numbered) + 1))
    assert len(numbered) == record.metadata.get("panel_count", 0)
    for each in record.regions[len(record.regions) - len(numbered) :]:
        if each.fault:
            assert (each.form, each.values) == ("", ())
            continue
        assert each.form in FORMS
        with suppress(EmptyRegion):
            resolve(each.form, each.values, 600, 900)
    assert all(set(each) == set(KINDS) for each in record.metadata.get("panels", []))  # type: ignore[union-attr]


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_record(data: bytes) -> None:
    assert isinstance(read_spec(data, "p.json"), PageSpec)

"""What the rows of a catalogue mean: ids, pictures, metadata."""

from pathlib import Path

import pytest

from embeddings_dagster.errors import BadRecord, NoPicture, SourceError
from embeddings_dagster.ids import parse_image_id
from embeddings_dagster.sources.catalog.addresses import NO_ADDRESS, places
from embeddings_dagster_tests.sources.catalogues import HEADER, WEB, listed, metadata, records, source, told


def ids(folder: Path, *cells: str, header: str = "product_id,id", **rules: object) -> list[str]:
    rows = "".join(f"{row},{WEB}{n}.jpg\n" for n, row in enumerate(cells))
    scan = source(folder, f"{header},image_url\n{rows}", **rules).scan()
    by_address = {location: local_id for local_id, _, location in listed(scan)}
    return [by_address[f"{WEB}{n}.jpg"] for n in range(len(cells))]


# ---- ids


def test_the_id_is_product_id_else_id_else_the_number_of_the_row(tmp_path: Path) -> None:
    assert ids(tmp_path, "a,b", ",b2", "nan,NaN", " , ", "e,") == ["a", "b2", "3", "4", "e"]


def test_the_columns_of_ids_can_be_configured(tmp_path: Path) -> None:
    rules = {"ids": ("sku", "handle")}
    assert ids(tmp_path, "a,b,1", "c,,2", ",,3", header="handle,SKU,id", **rules) == ["b", "c", "3"]


@pytest.mark.parametrize("text", ["007", "123.0", "None", "null", "N/A", "-", "a b", "1e5", "Ä/ö"])
def test_an_id_is_text_as_it_stands(tmp_path: Path, text: str) -> None:
    assert ids(tmp_path, f"{text},") == [text]


@pytest.mark.parametrize(("text", "local_id"), [("50%#1", "50%25%231"), ("a\tb", "a%09b"), ("\u2028x", "x")])
def test_an_id_is_escaped_and_prefixed(tmp_path: Path, text: str, local_id: str) -> None:
    (found,) = ids(tmp_path, f"{text},", prefix="p_")
    assert found == f"p_{local_id}"
    assert parse_image_id(f"shop:{found}#1").local_id == found


def test_an_id_without_end_is_none(tmp_path: Path) -> None:
    opened = source(tmp_path, f"{HEADER}{'x' * 2_000},One,5,{WEB}1.jpg\n")
    assert listed(opened.scan()) == [("1", 0, f"{WEB}1.jpg")]
    assert told(opened.scan())[0] == (
        "products.csv:2: product_id: an id of 2,000 characters is too long; taken as blank"
    )


def test_rows_without_ids_are_told(tmp_path: Path) -> None:
    scan = source(tmp_path, f"title,image_url\nOne,{WEB}1.jpg\nTwo,{WEB}2.jpg\n", prefix="s-").scan()
    assert [each[0] for each in listed(scan)] == ["s-1", "s-2"]
    assert told(scan) == [
        "products.csv: has no column named 'product_id' or 'id', so that rows have no id; they are known by "
        "their number in the file, so that rows put before them make them others. Correct columns.id"
    ]


def test_the_number_of_a_row_never_takes_the_id_of_another(tmp_path: Path) -> None:
    assert ids(tmp_path, "2,", ",", "9,", ",") == ["2", "row-2", "9", "4"]


# ---- pictures


@pytest.mark.parametrize("blank", ["", "  ", "nan", "NaN", "None", "null", "N/A", "#N/A", "-", "undefined", "[]"])
def test_a_blank_address_is_an_item_without_a_picture(tmp_path: Path, blank: str) -> None:
    """NaN is no URL."""
    opened = source(tmp_path, f"{HEADER}17,One,5,{blank}\n")
    assert listed(opened.scan()) == [("17", 0, "products.csv#17")]
    record = records(opened)["17", 0]
    assert record.metadata == {"title": "One", "price": 5.0}
    assert isinstance(record.fault, NoPicture)
    assert str(record.fault) == "17: names no picture; fill in image_url, or correct columns.image"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://x.com/a.jpg", "is not on the web (ftp:); only http and https are fetched, so publish the picture"),
        ("file:///etc/passwd", "is not on the web (file:); only http"),
        ("data:image/png;base64,AAAA", "is not on the web (data:); only http"),
        ("javascript:alert(1)", "is not on the web (javascript:); only http"),
        ("www.x.com/a.jpg", "is no web address; write it with http:// or https://"),
        ("//server\\share\\a.jpg", "is no web address; write it with http:// or https://"),
        ("images/a.jpg|images/b.jpg", "is no web address"),
        ("images/a.jpg", "is no web address; write it with http:// or https:// (pictures on a disk are for a source"),
        ("C:\\a.jpg", "is no web address"),
        ("/etc/passwd", "is no web address"),
        ("http:///a.jpg", "is no address that can be asked for; correct it"),
        ("https:", "is no address that can be asked for; correct it"),
        (f"https://x.com/{'a' * 9_000}", "is too long for an address (9,014 characters); shorten it"),
    ],
)
def test_what_is_no_address_is_a_failure_that_names_it(tmp_path: Path, text: str, reason: str) -> None:
    opened = source(tmp_path, f'{HEADER}17,One,5,"{text}"\n2,Two,6,{WEB}2.jpg\n')
    assert listed(opened.scan()) == [("17", 0, "products.csv#17"), ("2", 0, f"{WEB}2.jpg")]
    fault = records(opened)["17", 0].fault
    assert isinstance(fault, BadRecord)
    assert reason in str(fault)
    assert str(fault).startswith("17: ")
    assert len(str(fault)) < 600


@pytest.mark.parametrize(
    "text", [" https://x.com/a b.jpg ", "HTTP://X.com/ä.jpg", "http://[::1]/a?b=c&d#e", "http://u:p@x.com:8/a"]
)
def test_an_address_is_kept_as_it_stands_but_for_blanks_around_it(tmp_path: Path, text: str) -> None:
    assert listed(source(tmp_path, f"{HEADER}17,One,5,{text}\n").scan()) == [("17", 0, text.strip())]


def test_each_column_that_is_filled_is_a_picture_and_keeps_its_place(tmp_path: Path) -> None:
    rules = {"images": ("front", "missing", "back")}
    text = f"id,back,front\n1,{WEB}b.jpg,{WEB}f.jpg\n2,{WEB}b2.jpg,\n3,,\n4,x,{WEB}f4.jpg\n"
    opened = source(tmp_path, text, **rules)
    assert listed(opened.scan()) == [
        ("1", 0, f"{WEB}f.jpg"),
        ("1", 2, f"{WEB}b.jpg"),
        ("2", 2, f"{WEB}b2.jpg"),
        ("3", 0, "products.csv#3"),
        ("4", 0, f"{WEB}f4.jpg"),
        ("4", 2, "products.csv#4"),
    ]
    found = records(opened)
    assert [found["4", ordinal].fault is None for ordinal in (0, 2)] == [True, False]
    assert told(opened.scan()) == ["products.csv: has no column named 'missing'; correct columns.image"]


@pytest.mark.parametrize(
    "cell",
    [
        "http://a/1 http://a/2",
        "http://a/1, http://a/2",
        "http://a/1,http://a/2",
        "http://a/1|https://a/2".replace("s://a/2", "://a/2"),
        "http://a/1 ; http://a/2",
        "http://a/1\nhttp://a/2",
        '["http://a/1", "http://a/2"]',
        "['http://a/1', 'http://a/2']",
        ["http://a/1", "http://a/2"],
        ["http://a/1, http://a/2"],
        "http://a/1,http://a/2,",
        " http://a/1; http://a/2; ",
        "[http://a/1, http://a/2]",
        "{http://a/1,http://a/2}",
        "['http://a/1'\n 'http://a/2']",
        '[{"src": "http://a/1", "position": 1}, {"url": "http://a/2"}]',
        [{"src": "http://a/1", "url": "http://a/3"}, {"hi_res": None, "large": "http://a/2"}],
        {"hi_res": ["http://a/1", "http://a/2"], "large": ["http://a/3", "http://a/4"]},
    ],
)
def test_a_cell_may_name_several_pictures(cell: object) -> None:
    assert [(place.address, place.fault) for place in places(cell)] == [("http://a/1", ""), ("http://a/2", "")]


@pytest.mark.parametrize(
    "cell", ["//cdn.x.com/a.jpg", "//cdn.x.com/a.jpg, https://x.com/b", '{"src": "//cdn.x.com/a.jpg"}']
)
def test_an_address_without_its_scheme_is_on_https(cell: str) -> None:
    assert places(cell)[0] == ("https://cdn.x.com/a.jpg", "")


def test_an_object_without_an_address_keeps_its_place() -> None:
    cell = [{"src": "http://a/1"}, {"src": None, "url": ""}, {}, {"src": "http://a/2"}]
    assert places(cell) == [("http://a/1", ""), ("", ""), ("", ""), ("http://a/2", "")]


@pytest.mark.parametrize("blank", [" ", ",", ",//"])
def test_a_cell_of_a_million_blanks_is_looked_at_in_one_go(blank: str) -> None:
    [place] = places("x" + blank * 1_000_000 + "x")
    assert "is too long for an address" in place.fault


@pytest.mark.parametrize("cell", ["//" + ".a" * 500_000 + "\\", "[" * 1_000_000, "//" * 500_000])
def test_no_cell_takes_longer_than_it_is_long(cell: str) -> None:
    assert "is too long for an address" in places(cell)[0].fault


@pytest.mark.parametrize("cell", ["http://a/x,y|z;1.jpg", "https://proxy/http://a/1.jpg", "http://a/a b"])
def test_an_address_with_odd_characters_is_one(cell: str) -> None:
    assert [place.address for place in places(cell)] == [cell]


@pytest.mark.parametrize("cell", [7, {"url": {"src": "http://a/1"}}, {"alt": "http://a/1"}, True, [["http://a/1"]]])
def test_a_value_that_is_no_text_is_no_address(cell: object) -> None:
    (place,) = places(cell)
    assert place.address == ""
    assert "is no address; write it as text" in place.fault


def test_what_stands_for_no_address_is_written_down() -> None:
    assert {"", "nan", "none", "null", "n/a", "na", "nil", "-", "#n/a", "<na>", "nat", "undefined"} <= NO_ADDRESS


# ---- metadata


def test_metadata_is_all_other_columns_under_their_names(tmp_path: Path) -> None:
    text = (
        "product_id,Brand Name, title ,price,category,rating,image_url,product_url,id,ean\n"
        f'1,"A, B", One ,"1.234,50 €",nan,"4,5",{WEB}1.jpg,https://shop/1,v1,0012\n'
        f"2,,Two,,,,{WEB}2.jpg,,,\n"
    )
    assert metadata(source(tmp_path, text)) == {
        "1": {
            "Brand Name": "A, B",
            "title": "One",
            "price": 1234.5,
            "currency": "EUR",
            "rating": 4.5,
            "product_url": "https://shop/1",
            "id": "v1",
            "ean": "0012",
        },
        "2": {"title": "Two"},
    }


def test_a_currency_that_has_its_own_column_is_taken_from_there(tmp_path: Path) -> None:
    text = f"id,image_url,price,currency\n1,{WEB}1.jpg,$5,CAD\n2,{WEB}2.jpg,$5,\n3,{WEB}3.jpg,5.00,\n"
    assert [each.get("currency") for each in metadata(source(tmp_path, text)).values()] == ["CAD", "USD", None]


def test_a_bad_price_never_costs_the_picture(tmp_path: Path) -> None:
    opened = source(tmp_path, f"id,price,rating,image_url\n1,cheap,good,{WEB}1.jpg\n2,-5,-1,{WEB}2.jpg\n")
    assert metadata(opened) == {"1": {}, "2": {"rating": -1.0}}
    assert told(opened.scan()) == [
        "products.csv:2: price: 'cheap' is no number; taken without",
        "products.csv:2: rating: 'good' is no number; taken without",
        "products.csv:3: price: '-5' is below 0; taken without",
    ]


def test_the_fields_of_the_settings_say_what_is_a_number(tmp_path: Path) -> None:
    fields = (("price", "text"), ("rating", "integer"), ("stock", "integer"), ("weight", "number"), ("code", "text"))
    text = f"id,Price,rating,STOCK,weight,code,other,image_url\n1,5 €,4,1.000,2 kg,007,8,{WEB}1.jpg\n"
    opened = source(tmp_path, text, fields=fields)
    assert metadata(opened) == {"1": {"price": "5 €", "rating": 4.0, "stock": 1.0, "code": "007", "other": "8"}}
    assert told(opened.scan()) == ["products.csv:2: weight: '2 kg' is no number; taken without"]


def test_no_picture_is_named_by_an_empty_list_of_columns(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"columns\.image is empty"):
        source(tmp_path, f"{HEADER}1,One,5,{WEB}1.jpg\n", images=()).scan()

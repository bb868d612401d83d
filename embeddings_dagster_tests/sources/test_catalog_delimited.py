"""CSV and TSV as they come: every row is accounted for, and a bad one costs itself."""

from pathlib import Path

import pytest

from embeddings_dagster.errors import BadRecord, NoPicture, SourceError
from embeddings_dagster_tests.sources.catalogues import HEADER, WEB, listed, metadata, records, rows_of, source, told

TWO = [("1", 0, f"{WEB}1.jpg"), ("2", 0, f"{WEB}2.jpg")]


def two(separator: str = ",", end: str = "\n") -> str:
    rows = [("product_id", "title", "image_url"), ("1", "One", f"{WEB}1.jpg"), ("2", "Two", f"{WEB}2.jpg")]
    return "".join(separator.join(row) + end for row in rows)


@pytest.mark.parametrize(
    "text",
    [
        two(","),
        two(";"),
        two("\t"),
        two("|"),
        two(end="\r\n"),
        two(end="\r"),
        two(end="\r\r\n"),
        two().rstrip("\n"),
        "\n\n" + two(end="\n\n"),
        two(end=",,,\n"),
        "sep=;\r\n" + two(";", "\r\n"),
        "\ufeffsep=\t\n" + two("\t"),
        "\ufeff" + two(";", "\r\n"),
        two().replace("product_id,title", " Product_ID ,TITLE"),
        two().replace(",", ", "),
        two() + "\x1a",
        two() + "   \n",
    ],
)
def test_every_usual_dialect_says_the_same(tmp_path: Path, text: str) -> None:
    scan = source(tmp_path, text).scan()
    assert listed(scan) == TWO
    assert scan.ignored == {}
    assert told(scan) == []


def test_tab_separated_values_by_name_or_setting(tmp_path: Path) -> None:
    text = two("\t").replace("One", "a;b,c|d")
    assert listed(source(tmp_path, text, "a.tsv").scan()) == TWO
    assert listed(source(tmp_path, text, "a.TAB").scan()) == TWO
    assert listed(source(tmp_path, text, "a.txt", format="tsv").scan()) == TWO


def test_the_separator_is_the_one_that_finds_the_columns(tmp_path: Path) -> None:
    text = f"product_id;title, with, many, words;image_url\n1;One, two;{WEB}1.jpg\n"
    opened = source(tmp_path, text)
    assert listed(opened.scan()) == TWO[:1]
    assert metadata(opened) == {"1": {"title, with, many, words": "One, two"}}


def test_quoted_fields_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    text = f'{HEADER}1,"One, ""two""\r\nthree",5,{WEB}1.jpg\r\n2,Two,6,{WEB}2.jpg\r\n'
    opened = source(tmp_path, text)
    assert listed(opened.scan()) == TWO
    assert metadata(opened)["1"]["title"] == 'One, "two"\nthree'


@pytest.mark.parametrize(
    ("field", "title"),
    [
        ('"Big" shoe', '"Big" shoe'),
        ('"Big shoe', '"Big shoe'),
        ('5" pipe', '5" pipe'),
        ('"5"" pipe"', '5" pipe'),
        (r'"a \"big\" shoe"', r"a \"big\" shoe"),
        ('"closed" ', "closed"),
    ],
)
@pytest.mark.parametrize("others", ["", '3,"Other",7,https://cdn.example.com/3.jpg\n'])
def test_a_quote_out_of_place_costs_no_row(tmp_path: Path, field: str, title: str, others: str) -> None:
    text = f'{HEADER}"1",{field},"5",{WEB}1.jpg\n2,Two,6,{WEB}2.jpg\n{others}'
    opened = source(tmp_path, text)
    scan = opened.scan()
    assert listed(scan)[:2] == TWO
    assert rows_of(scan) == text.count("\n") - 1
    assert metadata(opened)["1"] == {"title": title, "price": 5.0}
    assert all("has a quote out of place" in line for line in told(scan))


def test_a_quote_left_open_in_a_field_with_separators_is_told(tmp_path: Path) -> None:
    text = f'{HEADER}1,"Big, red,5,{WEB}1.jpg\n2,"Two",6,{WEB}2.jpg\n3,"Three, b",7,{WEB}3.jpg\n'
    scan = source(tmp_path, text).scan()
    assert listed(scan) == [("1", 0, "products.csv#1"), TWO[1], ("3", 0, f"{WEB}3.jpg")]
    assert "products.csv:2: has a quote out of place, which is taken as it stands; double it, or close it" in told(scan)


def test_too_few_fields_are_blank_ones(tmp_path: Path) -> None:
    opened = source(tmp_path, f"product_id,image_url,title,price\n1,{WEB}1.jpg,One,5\n2,{WEB}2.jpg\n3,{WEB}3.jpg,T\n")
    scan = opened.scan()
    assert listed(scan) == [*TWO, ("3", 0, f"{WEB}3.jpg")]
    assert told(scan) == [
        "products.csv:3: has fewer fields than the header (1 more row likewise); taken as blank",
    ]
    assert metadata(opened) == {"1": {"title": "One", "price": 5.0}, "2": {}, "3": {"title": "T"}}


def test_too_many_fields_are_told_and_the_row_is_taken_where_its_picture_is_certain(tmp_path: Path) -> None:
    opened = source(tmp_path, f"product_id,image_url,title,price\n1,{WEB}1.jpg,One,5,more\n2,{WEB}2.jpg,Two,6,,,\n")
    scan = opened.scan()
    assert listed(scan) == TWO
    assert told(scan) == [
        "products.csv:2: has 5 fields, and the header 4; the first ones are taken. "
        "Quote a field that holds the separator"
    ]


@pytest.mark.parametrize("row", ["1,Big, red shoe,5,{}1.jpg", "1,One,5,{}w_1,h_2/1.jpg"])
def test_too_many_fields_before_or_in_the_address_are_a_failure_of_that_item(tmp_path: Path, row: str) -> None:
    opened = source(tmp_path, HEADER + row.format(WEB) + f"\n2,Two,6,{WEB}2.jpg\n")
    assert listed(opened.scan()) == [("1", 0, "products.csv#1"), TWO[1]]
    fault = records(opened)["1", 0].fault
    assert isinstance(fault, BadRecord)
    assert str(fault) == (
        "1: has 5 fields, and the header 4, so that its cells are not those of their columns; "
        "quote the field that holds the separator"
    )


def test_a_list_of_addresses_with_a_header_is_a_catalogue(tmp_path: Path) -> None:
    scan = source(tmp_path, f"image_url\n{WEB}w_1,h_2/1.jpg\n\n{WEB}2.jpg\n").scan()
    assert listed(scan) == [("1", 0, f"{WEB}w_1,h_2/1.jpg"), ("2", 0, f"{WEB}2.jpg")]


def test_names_that_occur_twice_are_kept_apart(tmp_path: Path) -> None:
    text = f"id,title,Title,title,image_url,image_url\n1,a,b,c,{WEB}1.jpg,{WEB}2.jpg\n"
    opened = source(tmp_path, text)
    scan = opened.scan()
    assert listed(scan) == [("1", 0, f"{WEB}1.jpg"), ("1", 1, f"{WEB}2.jpg")]
    assert metadata(opened) == {"1": {"title": "a", "Title": "b", "title.2": "c"}}
    assert told(scan) == [
        "products.csv: two columns are named 'title'; the second is taken as 'title.2'. Rename it",
    ]


def test_columns_without_a_name_are_left_out_and_told_if_they_hold_anything(tmp_path: Path) -> None:
    opened = source(tmp_path, f",id,image_url,\n0,1,{WEB}1.jpg,\n1,2,{WEB}2.jpg,\n")
    assert metadata(opened) == {"1": {}, "2": {}}
    assert told(opened.scan()) == [
        "products.csv: a column without a name is left out; give it one in the first line",
    ]


def test_a_field_may_be_large_but_not_endless(tmp_path: Path) -> None:
    endless = "x" * (17 * 2**20)
    rows = (f"1,{'x' * 200_000},5,{WEB}1.jpg", f'2,"a,{endless}",6,{WEB}2.jpg', f"3,{endless},7,{WEB}3.jpg")
    scan = source(tmp_path, HEADER + "\n".join(rows)).scan()
    assert listed(scan) == [TWO[0], ("3", 0, f"{WEB}3.jpg")]
    assert scan.ignored == {"not a record": 1}
    assert told(scan) == [
        "products.csv:2: title: 200,000 characters are too many; taken without",
        "products.csv:3: has a field of more than 16,777,216 characters; the row is left out. Shorten it",
        "products.csv:4: title: 17,825,792 characters are too many; taken without",
    ]


def test_a_line_that_was_cut_is_a_row_with_too_few_fields(tmp_path: Path) -> None:
    text = f'{HEADER}1,One,5,{WEB}1.jpg\n2,"Two, or'
    opened = source(tmp_path, text)
    assert listed(opened.scan()) == [TWO[0], ("2", 0, "products.csv#2")]
    assert isinstance(records(opened)["2", 0].fault, NoPicture)


def test_rows_that_are_all_blank_are_counted(tmp_path: Path) -> None:
    scan = source(tmp_path, f"{HEADER}1,One,5,{WEB}1.jpg\n,,,\n , ,,\n2,Two,6,{WEB}2.jpg\n").scan()
    assert listed(scan) == TWO
    assert scan.ignored == {"blank row": 2}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"is empty; write it again, or take the source out of the settings"),
        (b"\n \n\r\n", r"is empty, or holds no record"),
        (b"\xef\xbb\xbf", r"is empty, or holds no record"),
        (b"sep=;\n", r"is empty, or holds no record"),
        (HEADER.encode(), r"is empty, or holds no record"),
        (b"id,picture\n1,x\n", r"has no column named 'image_url', but 'id', 'picture'; name those of pictures in"),
        (b"<!DOCTYPE html>\n<title>404</title>\n", r"has no column named 'image_url', but '<!DOCTYPE html>'"),
        (b"PK\x03\x04" + bytes(100), r"is a ZIP file, as Excel workbooks are; export it as CSV in UTF-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"is a picture; export it as CSV"),
        (bytes(range(256)) * 10, r"is not text but binary; if it is text in UTF-16, say so in `encoding`"),
        (HEADER.encode("utf-16-le"), r"is not text but binary; if it is text in UTF-16"),
        (",".join(f"c{n}" for n in range(20_000)).encode() + b"\n1\n", r"has 20,000 columns; correct its first line"),
        (b"[" + b"x" * (65 * 2**20), r"has a line of more than 67,108,864 bytes"),
    ],
)
def test_a_file_that_says_nothing_is_an_error_and_never_a_removal(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=rf"^source 'shop': '.*products.csv' {reason}.*Nothing was removed\.$"):
        source(tmp_path, data).scan()

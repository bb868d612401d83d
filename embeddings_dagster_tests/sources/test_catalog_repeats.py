"""Ids that several rows have: counted once, told where they differ."""

from pathlib import Path

from embeddings_dagster_tests.sources.catalogues import HEADER, WEB, listed, metadata, rows_of, source, told

ROWS = (
    f"1,One,5,{WEB}1.jpg\n"
    f"2,Two,6,{WEB}2.jpg\n"
    f"1,One,5,{WEB}1.jpg\n"
    f" 1 ,Uno,5.00,{WEB}1.jpg\n"
    f"2,Two,,{WEB}2b.jpg\n"
    f"3,Three,7,\n"
)


def test_the_first_row_of_an_id_counts(tmp_path: Path) -> None:
    opened = source(tmp_path, HEADER + ROWS)
    scan = opened.scan()
    assert listed(scan) == [("1", 0, f"{WEB}1.jpg"), ("2", 0, f"{WEB}2.jpg"), ("3", 0, "products.csv#3")]
    assert scan.ignored == {"repeated id": 3}
    assert rows_of(scan) == 6
    assert metadata(opened)["1"] == {"title": "One", "price": 5.0}


def test_rows_that_differ_are_told_and_equal_ones_are_only_counted(tmp_path: Path) -> None:
    assert told(source(tmp_path, HEADER + ROWS).scan()) == [
        "products.csv:5: repeats the id '1' of line 2, which counts, and differs from it in title; "
        "give each its own id, or delete one",
        "products.csv:6: repeats the id '2' of line 3, which counts, and differs from it in its pictures, price; "
        "give each its own id, or delete one",
    ]


def test_the_last_row_of_an_id_counts_on_request(tmp_path: Path) -> None:
    opened = source(tmp_path, HEADER + ROWS, last=True)
    scan = opened.scan()
    assert listed(scan) == [("1", 0, f"{WEB}1.jpg"), ("2", 0, f"{WEB}2b.jpg"), ("3", 0, "products.csv#3")]
    assert metadata(opened)["1"] == {"title": "Uno", "price": 5.0}
    assert [line.partition(",")[0] for line in told(scan)] == [
        "products.csv:2: repeats the id '1' of line 5",
        "products.csv:3: repeats the id '2' of line 6",
        "products.csv:4: repeats the id '1' of line 5",
    ]


def test_a_real_amount_of_repeats_and_blanks_is_accounted_for_row_by_row(tmp_path: Path) -> None:
    """13,156 rows, 1,787 of them repeats, as a real catalogue had it; none is indexed twice, none is lost."""
    count, repeats = 13_156, 1_787
    lines = [HEADER]
    for row in range(count):
        number = row if row < count - repeats else row * 7 % (count - repeats)
        address = "" if number % 13 == 0 else "nan" if number % 17 == 0 else f"{WEB}{number}.jpg"
        lines.append(f"p{number},Title {row % 3},{'' if row % 5 else '9,99'},{address}\n".replace("9,99", '"9,99"'))
    scan = source(tmp_path, "".join(lines)).scan()
    assert len(scan.entries) == count - repeats
    assert len(set(scan.entries["local_id"].to_pylist())) == count - repeats
    assert scan.ignored == {"repeated id": repeats}
    assert rows_of(scan) == count
    assert len(scan.problems) == 1_001
    assert scan.problems[-1].reason.endswith("more problems are not listed; correct these, and the rest will be told")


def test_many_problems_of_one_kind_hide_no_conflict(tmp_path: Path) -> None:
    bad = "".join(f"b{n},x,dear,{WEB}{n}.jpg\n" for n in range(1_500))
    scan = source(tmp_path, HEADER + bad + ROWS).scan()
    assert len(scan.problems) == 1_001 + 2
    assert ["repeats the id" in each.reason for each in scan.problems[:3]] == [True, True, False], "they are seen first"
    assert "repeats the id '2'" in scan.problems[1].reason

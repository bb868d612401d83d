"""The text of items' pictures: what the settings name of their metadata, line by line."""

from pathlib import Path

import pytest

from embeddings_dagster.sources import Record, RegionRecord
from embeddings_dagster.sources.base import Plain
from embeddings_dagster.sources.item_text import text_regions
from embeddings_dagster.sources.scraped import ScrapedSource
from embeddings_dagster_tests.sources import catalogues
from embeddings_dagster_tests.sources.scraping import age, all_records, item, reasons, write_batch

NAMES = ("title", "description")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"description": "Warm.", "title": " A coat ", "brand": "Acme"}, "A coat\nWarm."),
        ({"title": "A coat", "description": "  \n"}, "A coat"),
        ({"title": 501, "description": 7.5}, "501\n7.5"),
        ({"title": ["A coat", "", None, 3, ["deep"]]}, "A coat\n3"),
        ({"title": True, "description": {"de": "Warm."}}, None),
        ({"brand": "Acme"}, None),
        ({}, None),
    ],
)
def test_text_is_the_words_of_the_named_metadata_in_their_order(metadata: dict[str, Plain], text: str | None) -> None:
    assert text_regions(metadata, NAMES) == ((RegionRecord(0, text=text),) if text else ())
    assert text_regions(metadata, ()) == ()


def test_a_record_without_text_keeps_its_digest_whatever_the_settings_name() -> None:
    metadata: dict[str, Plain] = {"brand": "Acme"}
    assert Record(metadata, regions=text_regions(metadata, NAMES)).digest() == Record(metadata).digest()


def scraped_texts(source: ScrapedSource) -> dict[str, str | None]:
    found = all_records(source, source.scan())
    return {local_id: record.regions[0].text if record.regions else None for (_, local_id, _), record in found.items()}


def test_a_scraped_item_has_the_text_that_is_named_with_each_of_its_pictures(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1, "a.jpg", "b.jpg", description="Warm."), item(2, title=" "), category="Coats")
    age(tmp_path)
    source = ScrapedSource("shop", tmp_path, text=("title", "description", "category"))
    assert scraped_texts(source) == {"1": "Item 1\nWarm.\nCoats", "2": "Coats"}
    first, second, _ = all_records(source, source.scan()).values()
    assert first.regions == second.regions
    assert scraped_texts(ScrapedSource("shop", tmp_path)) == {"1": None, "2": None}


def test_a_scraped_batch_is_read_again_when_other_text_is_asked_for(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1, description="Warm."))
    age(tmp_path)
    marks = {}
    for names in ((), ("title",), ("title", "description"), ("description", "title"), ()):
        source = ScrapedSource("shop", tmp_path, text=names)
        assert source.scan(marks).left_alone == frozenset(), names
        marks = dict(source.scan().marks)
        assert source.scan(marks).left_alone == {"shop__one"}


def test_a_scraped_batch_without_any_of_the_text_says_so(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1), item(2))
    write_batch(tmp_path, "two", item(3, titel="Mantel"))
    write_batch(tmp_path, "none")
    age(tmp_path)
    told = reasons(ScrapedSource("shop", tmp_path, text=("titel",)).scan())
    ((location, (reason,)),) = [(key, value) for key, value in told.items() if "word" in str(value)]
    assert location == "one/batch.json"
    assert "no item has a word in 'titel', so that none has text; correct `text`" in reason


def test_a_row_of_a_catalogue_has_the_text_that_is_named_with_each_of_its_pictures(tmp_path: Path) -> None:
    rows = (
        "product_id,title,description,image_url\n"
        f'1,A coat,"Warm.\nSoft.",{catalogues.WEB}a.jpg|{catalogues.WEB}b.jpg\n'
        f"2,,,{catalogues.WEB}c.jpg\n"
        "3,A hat,,\n"
    )
    opened = catalogues.source(tmp_path, rows, text=NAMES)
    found = {key: [each.text for each in record.regions] for key, record in catalogues.records(opened).items()}
    warm = ["A coat\nWarm.\nSoft."]
    assert found == {("1", 0): warm, ("1", 1): warm, ("2", 0): [], ("3", 0): ["A hat"]}


def test_a_catalogue_is_read_again_when_other_text_is_asked_for(tmp_path: Path) -> None:
    rows = f"product_id,title,image_url\n1,A coat,{catalogues.WEB}a.jpg\n"
    before = catalogues.source(tmp_path, rows).scan()
    after = catalogues.source(tmp_path, rows, text=("title",)).scan(dict(before.marks))
    assert after.entries["record_hash"].to_pylist() != before.entries["record_hash"].to_pylist()
    assert after.entries["location"].to_pylist() == before.entries["location"].to_pylist()


def test_a_catalogue_without_any_of_the_text_says_so(tmp_path: Path) -> None:
    rows = f"product_id,title,image_url\n1,A coat,{catalogues.WEB}a.jpg\n"
    told = catalogues.told(catalogues.source(tmp_path, rows, text=("titel", "beschreibung")).scan())
    assert told == [
        "products.csv: no item has a word in 'titel' or 'beschreibung', so that none has text; correct `text`"
    ]

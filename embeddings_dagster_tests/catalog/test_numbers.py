"""Rows by their numbers, as searches of an index want them: the same rows as by their keys, whatever is asked."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.catalog import ALL, PARTS, WHOLE, Filter, Snapshot
from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import Key
from embeddings_dagster_tests.catalog.helpers import picture, snapshot_of


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    def record(number: int) -> dict[str, Any]:
        tags = ["a", "b", "c"][: number % 4]
        said = {"title": f"shirt {number}" if number % 3 else "hat", "price": number % 7, "tags": tags}
        return {**said, **({"note": "x" * 200 + " red"} if number % 5 == 0 else {})}

    pictures = (
        picture(f"{['shop', 'art'][number % 2]}:{number}", record(number), batch=f"{['shop', 'art'][number % 2]}__1",
                panels=["hello", None][: number % 3])
        for number in range(60)
    )  # fmt: skip
    return snapshot_of(tmp_path_factory.mktemp("numbers"), *pictures)


CONDITIONS = (
    "price<=3", "price!=2", "price in 1,5", "tags=a", "tags!=b", "tags=", "tags!=", "note~red", "title~shirt",
    "title!~shirt", "source=shop", "region>0", "image_id~1", "width=40", "price=99", "metadata.price>4",
)  # fmt: skip


@given(
    st.lists(st.sampled_from(CONDITIONS), max_size=3),
    st.sampled_from([None, "shirt", "-shirt", "hello", "nothing"]),
    st.sampled_from([ALL, WHOLE, PARTS]),
    st.sampled_from([(), ("shop",), ("shop", "art"), ("none",)]),
)
def test_the_rows_are_those_of_the_keys(
    shop: Snapshot, where: list[str], text: str | None, regions: Any, sources: tuple[str, ...]
) -> None:
    wanted = Filter(where, text=text, regions=regions, sources=sources)
    table = shop.numbered.to_pydict()
    keys = {number: Key(*key) for number, *key in zip(table["number"], table["image_id"], table["region"], strict=True)}
    numbers = shop.numbers(wanted).tolist()
    assert sorted(keys[number] for number in numbers) == list(shop.keys(wanted))


def test_a_field_that_is_not_there_is_named(shop: Snapshot) -> None:
    with pytest.raises(BadQuery, match="did you mean 'price'"):
        shop.numbers(Filter(["prize<3"]))


def test_an_empty_catalogue_has_no_numbers(tmp_path: Path) -> None:
    with snapshot_of(tmp_path) as snapshot:
        assert (len(snapshot.numbered), len(snapshot.numbers())) == (0, 0)
        assert len(snapshot.numbers(Filter(text="word"))) == 0

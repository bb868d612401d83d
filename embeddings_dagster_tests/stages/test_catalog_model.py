"""Whatever happens to batches, and however often it is refreshed: the catalogue is the winners' records, no other."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.catalog import Filter, flaws
from embeddings_dagster.ids import Key
from embeddings_dagster_tests.stages.catalog_world import CatalogWorld, Item, make_catalog_world

IMAGES = ["art:a", "art:b", "art:c", "art:d"]
BATCHES = ["1", "2", "3"]

words = st.sampled_from(["red", "blue", "GREEN"])
items = st.builds(
    Item,
    metadata=st.fixed_dictionaries({}, optional={"title": words, "price": st.integers(0, 3), "tags": st.lists(words)}),
    text=st.none() | words,
    panels=st.lists(st.none() | words, max_size=2),
)
contents = st.dictionaries(st.sampled_from(IMAGES), st.none() | items, max_size=4)  # None: it has failed there
writes = st.tuples(st.just("write"), st.sampled_from(BATCHES), contents)
ages = st.tuples(st.just("age"), st.sampled_from(BATCHES), st.integers(0, 2))
erasures = st.tuples(st.just("erase"), st.sampled_from(BATCHES), st.none())
forgetting = st.tuples(st.just("forget"), st.just(""), st.none())
refreshes = st.tuples(st.just("refresh"), st.just(""), st.none())
events = st.lists(st.one_of(writes, writes, ages, erasures, forgetting, refreshes), max_size=12)


@dataclass
class Model:
    """What should be, as plain dicts: batch -> image -> item, and each batch's age."""

    batches: dict[str, dict[str, Item]] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)

    def winners(self) -> dict[Key, tuple[str, object, str | None]]:
        """Batch, metadata and text of each row."""
        rows: dict[Key, tuple[str, object, str | None]] = {}
        for image in IMAGES:
            having = [batch for batch, content in self.batches.items() if image in content]
            if having:
                batch = max(having, key=lambda each: (self.ages.get(each, -1), each))
                item = self.batches[batch][image]
                for region, text in enumerate([item.text, *item.panels]):
                    if region == 0 or text is not None:
                        rows[Key(image, region)] = (f"art__{batch}", item.metadata, text)
        return rows


def happen(world: CatalogWorld, model: Model, what: str, batch: str, value: object) -> None:
    if what == "write":
        assert isinstance(value, dict)
        model.batches[batch] = {image: item for image, item in value.items() if item is not None}
        world.write(batch, model.batches[batch], [image for image, item in value.items() if item is None])
    elif what == "age":
        assert isinstance(value, int)
        model.ages[batch] = value
        world.age(**{batch: value})
    elif what == "erase":
        model.batches.pop(batch, None)
        world.store.files.delete_folder(f"raw_images/art__{batch}")
    elif what == "forget":
        (world.store.cache / "catalog" / "state.sqlite").unlink(missing_ok=True)


@settings(deadline=None, max_examples=40)
@given(events)
def test_the_catalogue_is_the_records_of_the_winners(happenings: list[tuple[str, str, object]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        world = make_catalog_world(Path(folder))
        for what, batch, value in [*happenings, ("refresh", "", None)]:
            happen(world, model, what, batch, value)
            if what == "refresh" and world.refresh().generation is not None:
                expected = model.winners()
                found = {key: (each.batch, each.metadata, each.text) for key, each in world.records().items()}
                assert found == expected
                _agree_with_words_and_facets(world, expected)
                assert not world.refresh().changed


def _agree_with_words_and_facets(world: CatalogWorld, expected: dict[Key, tuple[str, object, str | None]]) -> None:
    """What is counted and indexed beside the rows followed every change."""
    inside = Counter(key.image_id for key, (_, _, text) in expected.items() if key.region and text == "red")
    with world.catalogue.open() as snapshot:
        red = {
            key for key, (_, metadata, text) in expected.items()
            if text == "red" or (key.region == 0 and ("'red'" in str(metadata) or inside[key.image_id]))
        }  # fmt: skip
        assert set(snapshot.keys(Filter(text="red"))) == red
        held = Counter(
            name for key, (_, metadata, _) in expected.items() if key.region == 0 for name in dict(metadata)  # type: ignore[call-overload]
        )  # fmt: skip
        prices = {each.name: each.numbers for each in snapshot.fields()}.get("price", 0)
        assert prices == held["price"]
        copy = world.store.cache / "copy.sqlite"
        copy.write_bytes(world.catalogue.local(snapshot.manifest).read_bytes())
        assert flaws(copy) == []

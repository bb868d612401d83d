"""Whatever happens to batches, and however often it is refreshed: the index holds the live winners, and answers so.

The same sequences of events go through the derived state alone (many), and through the whole store (a few).
"""

import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.index_plan import Row
from embeddings_dagster.stages.index_state import TABLES, IndexState
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import brute_force, make_world

IMAGES = ["art:a", "art:b", "art:c", "art:d"]
BATCHES = ["1", "2", "3"]

versions = st.sampled_from(["x", "y"])
regions = st.dictionaries(st.integers(0, 2), versions, min_size=1, max_size=2)
contents = st.dictionaries(st.sampled_from(IMAGES), st.tuples(regions, st.booleans()), max_size=4)
writes = st.tuples(st.just("write"), st.sampled_from(BATCHES), contents)
ages = st.tuples(st.just("age"), st.sampled_from(BATCHES), st.integers(0, 2))
events = st.lists(st.one_of(writes, writes, ages, st.just(("refresh", "", None))), max_size=12)


@dataclass
class Model:
    """What should be, as plain dicts: batch -> image -> (region -> input hash, whether clean), and each batch's age."""

    batches: dict[str, dict[str, tuple[dict[int, str], bool]]] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)

    def write(self, batch: str, content: dict[str, tuple[dict[int, str], bool]]) -> None:
        self.batches[batch] = {
            image: ({region: f"{image}/{region}@{version}" for region, version in regions.items()}, clean)
            for image, (regions, clean) in content.items()
        }

    def winners(self) -> dict[Key, Row]:
        rows: dict[Key, Row] = {}
        for image in IMAGES:
            having = [batch for batch, content in self.batches.items() if image in content]
            having.sort(key=lambda batch: (self.batches[batch][image][1], self.ages.get(batch, -1), batch))
            if having:
                for region, input_hash in self.batches[having[-1]][image][0].items():
                    rows[Key(image, region)] = Row(input_hash, f"art__{having[-1]}")
        return rows


@settings(deadline=None, max_examples=150)
@given(events)
def test_the_state_settles_on_the_winners(happenings: list[tuple[str, str, object]]) -> None:
    model, taken = Model(), Model()
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(TABLES)
    state = IndexState(connection)
    label = 0
    for number, (what, batch, value) in enumerate([*happenings, ("refresh", "", None)]):
        if what == "write":
            model.write(batch, value)  # type: ignore[arg-type]
        elif what == "age":
            model.ages[batch] = value  # type: ignore[assignment]
        else:
            for name, content in model.batches.items():
                rows = [
                    (image, region, hash_, clean)
                    for image, (found, clean) in content.items()
                    for region, hash_ in found.items()
                ]
                state.offer(f"art__{name}", rows)
                if model.ages.get(name) != taken.ages.get(name):
                    state.touch_batch(f"art__{name}")
            taken.ages = dict(model.ages)
            state.settle({f"art__{name}": str(model.ages.get(name, "")) for name in BATCHES})
            for name in state.unplaced():
                keys = state.unplaced_of(name)
                state.place(f"segment{number}", keys, label)
                label += len(keys)
            placed = connection.execute("select image_id, region, input_hash, batch from placed")
            assert {Key(*row[:2]): Row(*row[2:]) for row in placed} == model.winners()
            offered = sum(len(found) for content in model.batches.values() for found, _ in content.values())
            assert state.superseded() == offered - len(model.winners())
            assert not state.settle({})
    connection.close()


@settings(deadline=None, max_examples=8)
@given(events)
def test_the_index_is_the_winners_and_answers_like_brute_force(happenings: list[tuple[str, str, object]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        for what, batch, value in [*happenings, ("refresh", "", None)]:
            if what == "write":
                model.write(batch, value)  # type: ignore[arg-type]
                content = model.batches[batch]
                failed = [Key(image, 9) for image, (_, clean) in content.items() if not clean]
                world.write(batch, {image: found for image, (found, _) in content.items()}, failed)
            elif what == "age":
                model.ages[batch] = value  # type: ignore[assignment]
                world.age(**{batch: value})  # type: ignore[arg-type]
            elif world.refresh().generation is not None:
                rows = world.rows()
                assert rows == model.winners()
                scores = [hit.score for hit in world.open().search(vector("q"), 3)]
                assert scores == pytest.approx(brute_force(rows, vector("q"), 3), abs=1e-6)
                assert not world.refresh().changed

"""Any history of a source with batches of its own, taken in scan by scan, against a model that is a plain dict."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.settings import Settings
from embeddings_dagster.sources import SCAN, Scan
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.looks import SEEN
from embeddings_dagster.stages.scanned import Judged, Scanned
from embeddings_dagster.store import Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Key = tuple[str, str, int]  # batch, local id, ordinal
Pictures = Mapping[tuple[str, int], int]  # (local id, ordinal) -> size


@dataclass(frozen=True)
class Row:
    size: int
    live: bool


@dataclass(frozen=True)
class Step:
    """What there is, and what of it the scan says nothing of, has not settled, or is not certain of."""

    batches: Mapping[str, Pictures]
    left_alone: frozenset[str]
    unsettled: frozenset[Key]
    uncertain: frozenset[str]


class Shelf:
    """All of a source that planning asks for."""

    name = "shop"
    own_batches = True
    threads = 1


def model(ledger: dict[Key, Row], step: Step) -> dict[Key, Row]:
    """The specification, said again with plain dicts and loops."""
    after = dict(ledger)
    there = {(batch, *key): size for batch, pictures in step.batches.items() for key, size in pictures.items()}
    for key, size in there.items():
        if key[0] not in step.left_alone and key not in step.unsettled:
            after[key] = Row(size, True)
    for key, row in ledger.items():
        if key not in there and key[0] not in step.left_alone | step.uncertain:
            after[key] = Row(row.size, False)
    return after


def scan_of(step: Step, at: datetime) -> Scan:
    rows = [
        {"local_id": local_id, "item_id": local_id, "ordinal": ordinal, "batch": f"shop__{batch}", "location": local_id,
         "size": size, "mtime_ns": 1}
        for batch, pictures in sorted(step.batches.items()) if batch not in step.left_alone
        for (local_id, ordinal), size in sorted(pictures.items())
    ]  # fmt: skip
    alone = frozenset(f"shop__{batch}" for batch in step.left_alone)
    return Scan(pa.Table.from_pylist(rows, schema=SCAN), at, left_alone=alone)


NAMES = st.sampled_from(["one", "two", "three"])
PICTURES = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 1)), st.integers(1, 2), max_size=4)
KEYS = st.tuples(NAMES, st.sampled_from("abc"), st.integers(0, 1))
STEPS = st.builds(
    Step,
    st.dictionaries(NAMES, PICTURES, max_size=3),
    st.frozensets(NAMES, max_size=2),
    st.frozensets(KEYS, max_size=4),
    st.frozensets(NAMES, max_size=1),
)


@given(st.lists(STEPS, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_history_ends_as_the_dict_says(history: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        context = StageContext(Settings(batch_images=2), Store.open(Path(folder), Path(folder) / "cache"), "run")
        ledger = context.store.ledger("shop")
        expected: dict[Key, Row] = {}
        for number, step in enumerate(history):
            at = NOON + timedelta(minutes=number)
            scanned = Scanned(context, Shelf(), scan_of(step, at), at, SEEN.empty_table())
            before, expected = expected, model(expected, step)
            plan = scanned.plan(judged(scanned, step), sample=None)
            manifest = ledger.commit(ledger.latest(), plan.batches, run_id="run")
            rows = [row for batch in manifest.batches for row in ledger.rows(manifest, batch).to_pylist()]
            found = {
                (row["batch"].removeprefix("shop__"), row["local_id"], row["ordinal"]): Row(
                    row["size"], row["removed_at"] is None
                )
                for row in rows
            }
            assert found == expected
            assert len(rows) == len(found), "nothing twice"
            assert set(plan.batches) == {f"shop__{key[0]}" for key in found if found[key] != before.get(key)}
            taken = plan.unchanged + sum(len(part) for part in (plan.new, plan.changed, plan.returned))
            assert taken + len(plan.unsettled) == plan.found == len(scanned.scan.entries)
            assert plan.live_before == sum(row.live for row in before.values())
            again = scanned.plan(judged(scanned, step), sample=None)
            assert again.batches == {}, "a second run does nothing"


def judged(scanned: Scanned, step: Step) -> Judged:
    """The scan against the newest ledger; what is not settled is what the step says."""
    trusted = scanned.trust(scanned.context.store.ledger("shop").latest())
    names = zip(*(scanned.scan.entries[name].to_pylist() for name in ("batch", "local_id", "ordinal")), strict=True)
    ready = [(batch.removeprefix("shop__"), *rest) not in step.unsettled for batch, *rest in names]
    certain = [batch.removeprefix("shop__") not in step.uncertain for batch in trusted.rows["batch"].to_pylist()]
    settled = type(trusted.settled)(
        np.array(ready, np.bool_), np.array(certain, np.bool_), SEEN.empty_table(), SEEN.empty_table(), False
    )
    return Judged(trusted.base, trusted.rows, settled)

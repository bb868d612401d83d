"""Any history of a folder, planned step by step, against a model that is a plain dict."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster_tests.stages.ledger_book import Book, Facts, ids_of


@dataclass(frozen=True)
class Row:
    batch: int
    facts: Facts
    live: bool


def model(ledger: dict[str, Row], files: dict[str, Facts], unsettled: set[str], limit: int) -> dict[str, Row]:
    """The specification, said again with plain dicts and loops."""
    after = dict(ledger)
    new = [name for name in sorted(files) if name not in ledger]
    gone = [name for name in sorted(ledger) if ledger[name].live and name not in files]
    pairs: dict[str, str] = {}

    def base(name: str) -> str:
        return name.rsplit("/", 1)[-1]

    for name in new:
        match = [g for g in gone if g not in pairs.values() and (ledger[g].facts, base(g)) == (files[name], base(name))]
        if match:
            pairs[name] = match[0]
    for name in new:
        twins = [n for n in new if n not in pairs and files[n] == files[name]]
        match = [g for g in gone if g not in pairs.values() and ledger[g].facts == files[name]]
        if name not in pairs and len(twins) == len(match) == 1:
            pairs[name] = match[0]
    for name in gone:
        if not any(old == name and fresh in unsettled for fresh, old in pairs.items()):
            after[name] = replace(ledger[name], live=False)
    for name in sorted(files):
        if name in unsettled:
            continue
        if name in ledger:
            after[name] = replace(ledger[name], facts=files[name], live=True)
        elif name in pairs:
            after[name] = Row(ledger[pairs[name]].batch, files[name], True)
    for name in new:
        if name not in pairs and name not in unsettled:
            last = max((row.batch for row in after.values()), default=1)
            full = sum(row.batch == last for row in after.values()) >= limit
            after[name] = Row(last + full, files[name], True)
    return after


NAMES = st.sampled_from([f"{folder}{name}" for folder in ("", "x/", "y/z/") for name in ("a", "b", "c", "d", "e")])
STATES = st.dictionaries(NAMES, st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=12)


@given(st.lists(st.tuples(STATES, st.sets(NAMES, max_size=3), st.integers(1, 5)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_history_ends_as_the_dict_says(history: list[tuple[dict[str, Facts], set[str], int]]) -> None:
    book, expected = Book(), dict[str, Row]()
    for files, unsettled, limit in history:
        book.batch_images = limit
        before = expected
        waiting = {name for name in unsettled if name in files and _differs(before.get(name), files[name])}
        plan = book.apply(files, waiting)
        expected = model(before, files, waiting, limit)
        found = {
            row["local_id"]: Row(int(row["batch"][-6:]), (row["size"], row["mtime_ns"]), row["removed_at"] is None)
            for row in book.table.to_pylist()
        }
        assert found == expected
        assert len(book.table) == len(found), "no key twice"
        assert all(expected[name].batch == row.batch for name, row in before.items()), "nothing leaves its batch"
        settled = plan.unchanged + sum(len(part) for part in (plan.new, plan.changed, plan.returned, plan.moved))
        assert settled + len(plan.unsettled) == len(files) == plan.found
        assert plan.unsettled.to_pylist() == sorted(waiting)
        for batch, table in plan.batches.items():
            assert table["local_id"].to_pylist() == sorted(table["local_id"].to_pylist())
            assert table["batch"].unique().to_pylist() == [batch]
        assert ids_of(book.plan(files, waiting)).keys() <= {"unsettled"}, "a second run does nothing"


def _differs(row: Row | None, facts: Facts) -> bool:
    return row is None or not row.live or row.facts != facts

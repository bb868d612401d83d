from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.stages import ledger_rows as module
from embeddings_dagster.stages.ledger_rows import ledger_rows
from embeddings_dagster.store import LedgerManifest, Store
from embeddings_dagster.store.tables import LEDGER

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEYS = [f"shop__{number:03}" for number in range(12)]


def rows(key: str, *names: str, size: int = 1) -> pa.Table:
    wanted = [
        {"local_id": name, "item_id": name, "ordinal": 0, "batch": key, "location": name, "size": size}
        for name in names
    ]
    return pa.Table.from_pylist([{**row, "mtime_ns": 1, "first_seen": NOON} for row in wanted], LEDGER)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Four small parts are worth remembering, and five rows are not small."""
    monkeypatch.setattr(module, "WORTH", 4)
    monkeypatch.setattr(module, "SMALL", 5)
    monkeypatch.setattr(module, "TOGETHER", 3)
    return Store.open(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def manifest(store: Store) -> LedgerManifest:
    """Batch 3 is a large one."""
    tables = {key: rows(key, *("edcba" if key == KEYS[3] else "ba")) for key in KEYS}
    return store.ledger("shop").commit(None, tables, run_id="run")


def opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    paths: list[str] = []
    open_file = store.files.open
    monkeypatch.setattr(store.files, "open", lambda path: paths.append(path) or open_file(path))
    return paths


def plainly(store: Store, manifest: LedgerManifest, keys: list[str]) -> pa.Table:
    return pa.concat_tables([store.ledger("shop").rows(manifest, key) for key in sorted(keys)])


def test_the_rows_are_those_of_each_batch_in_order(store: Store, manifest: LedgerManifest) -> None:
    for keys in (KEYS, KEYS[:2], KEYS[::-1], [KEYS[3]], [KEYS[3], *KEYS[5:]], [], ["shop__unknown", *KEYS]):
        known = [key for key in keys if key in manifest.batches]
        expected = plainly(store, manifest, known) if known else LEDGER.empty_table()
        for _ in range(2):
            assert ledger_rows(store, "shop", manifest, keys).equals(expected)
    assert ledger_rows(store, "shop", None, KEYS).equals(LEDGER.empty_table())


def test_small_parts_are_opened_once(store: Store, manifest: LedgerManifest, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger_rows(store, "shop", manifest, KEYS)
    paths = opened(store, monkeypatch)
    ledger_rows(store, "shop", manifest, KEYS)
    assert paths == [store.ledger("shop").path(manifest.batches[KEYS[3]].file)]


def test_a_part_that_was_replaced_is_read(
    store: Store, manifest: LedgerManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_rows(store, "shop", manifest, KEYS)
    changed = {KEYS[0]: rows(KEYS[0], "a", size=2), KEYS[7]: rows(KEYS[7], "c")}
    following = store.ledger("shop").commit(manifest, changed, run_id="run")
    expected = plainly(store, following, KEYS)
    paths = opened(store, monkeypatch)
    assert ledger_rows(store, "shop", following, KEYS).equals(expected)
    assert len(paths) == 3
    assert ledger_rows(store, "shop", manifest, KEYS).equals(plainly(store, manifest, KEYS)), "the version before, too"


def test_a_few_batches_are_read_without_what_is_remembered(
    store: Store, manifest: LedgerManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_rows(store, "shop", manifest, KEYS)
    (store.cache / "ledgers" / "shop.rows").write_bytes(b"garbage")
    assert ledger_rows(store, "shop", manifest, KEYS[:3]).equals(plainly(store, manifest, KEYS[:3]))


@pytest.mark.parametrize("damage", ["deleted", "garbage", "flipped"])
def test_what_is_remembered_may_be_lost_or_damaged(store: Store, manifest: LedgerManifest, damage: str) -> None:
    ledger_rows(store, "shop", manifest, KEYS)
    path = store.cache / "ledgers" / "shop.rows"
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 97) if damage == "flipped" else (0,):
        if damage == "deleted":
            path.unlink(missing_ok=True)
        elif damage == "garbage":
            path.write_bytes(b"garbage")
        else:
            flipped = bytearray(data)
            flipped[place] ^= 16
            path.write_bytes(flipped)
        assert ledger_rows(store, "shop", manifest, KEYS).equals(plainly(store, manifest, KEYS))


def test_a_damaged_part_is_an_error(store: Store, manifest: LedgerManifest) -> None:
    path = store.files.local(store.ledger("shop").path(manifest.batches[KEYS[1]].file))
    assert path is not None
    path.write_bytes(b"damaged")
    with pytest.raises(CorruptFile, match="does not hold what was committed"):
        ledger_rows(store, "shop", manifest, KEYS)

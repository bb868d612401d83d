"""When a part closes, and what a writer holds until then."""

import numpy as np
import pyarrow as pa
import pytest

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits
from embeddings_dagster.store.tables import embeddings
from embeddings_dagster_tests.store.helpers import TABLE, failure, row, said, writer_of

A, B, C = (Key(f"art:{name}", 0) for name in "abc")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("limits", "seconds", "expected"),
    [
        (PartLimits(images=3), 0, [3, 3, 1]),
        (PartLimits(), 0, [7]),
        (PartLimits(), 7, [4, 3]),
        (PartLimits(seconds=14), 7, [3, 3, 1]),
        (PartLimits(bytes=1), 0, [1] * 7),
    ],
)
def test_a_part_closes_at_its_first_limit(
    chain: Chain, limits: PartLimits, seconds: float, expected: list[int]
) -> None:
    clock = Clock()
    writer = chain.writer(TABLE, run_id="run", label={}, limits=limits, clock=clock)
    for number in range(7):
        writer.add([row(f"art:{number}")])
        clock.now += seconds
    assert [part.rows for part in writer.finish(inputs={}, total=7).parts] == expected
    assert writer.parts_written == len(expected)


def test_the_default_limits_are_512_images_64_megabytes_and_20_seconds() -> None:
    assert PartLimits() == PartLimits(images=512, bytes=64 * 2**20, seconds=20.0)


def test_a_part_never_splits_an_image(chain: Chain) -> None:
    writer = writer_of(chain, PartLimits(bytes=1))
    for name in "ab":
        writer.add([row(f"art:{name}", region) for region in range(5)])
    assert [part.rows for part in writer.finish(inputs={}, total=10).parts] == [5, 5]


def test_failures_are_committed_at_the_limits_too(chain: Chain) -> None:
    writer = writer_of(chain)
    for number in range(5):
        writer.fail(failure(f"art:{number}"))
    head = chain.head()
    assert head is not None
    assert (head.complete, head.counts.failed) == (False, 4)


def test_a_checkpoint_keeps_what_is_in_hand_and_is_idle_without_news(chain: Chain) -> None:
    writer = writer_of(chain, PartLimits())
    writer.checkpoint()
    assert chain.head() is None
    writer.add([row("art:a")])
    writer.checkpoint()
    writer.checkpoint()
    writer.drop([A])
    writer.checkpoint()
    assert [chain.get(version).counts.ok for version in chain.versions.numbers()] == [1, 0]


def test_a_part_that_could_not_be_written_stays_in_hand(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    writer = writer_of(chain)
    writer.add([row("art:a")])
    with monkeypatch.context() as patch:
        patch.setattr(chain.store_files, "writing", full)
        with pytest.raises(OSError, match="No space left"):
            writer.add([row("art:b")])
    writer.add([row("art:c")])
    manifest = writer.finish(inputs={}, total=3)
    assert said(chain, manifest) == {A: "hash-art:a", B: "hash-art:b", C: "hash-art:c"}


def test_memory_holds_the_open_part_only(chain: Chain) -> None:
    table, picture = embeddings(2**18), np.ones(2**18, dtype=np.float32)  # a megabyte a row
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        writer = chain.writer(table, run_id="run", label={}, limits=PartLimits(bytes=4 * 2**20))
        for number in range(24):
            writer.add([{**row(f"art:{number}"), "embedding": picture}])
        manifest = writer.finish(inputs={}, total=24)
        assert pool.max_memory() < 16 * 2**20
        assert pool.bytes_allocated() < 2**20
    finally:
        pa.set_memory_pool(usual)
    assert manifest.counts.ok == 24

"""Sequences of everything a stage may do, against a dict."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings_dagster.ids import Key
from embeddings_dagster.store import Chain, PartLimits, Store, Writer
from embeddings_dagster_tests.store.helpers import chain_of, failure, row, said, writer_of

if TYPE_CHECKING:
    from embeddings_dagster_tests.object_storage import ObjectStorage

IMAGES = [f"art:{number}" for number in range(5)]
State = dict[Key, object]

images, regions = st.sampled_from(IMAGES), st.integers(0, 1)
operations = st.one_of(
    st.tuples(st.just("add"), images, st.sets(regions, min_size=1), st.sampled_from(["one", "two"])),
    st.tuples(st.just("fail"), images, regions, st.integers(1, 2)),
    st.tuples(st.just("drop"), images, regions),
    st.tuples(st.sampled_from(["checkpoint", "finish", "crash"])),
)


class Run:
    """A chain under test beside what it should say: now, after a crash, and to readers."""

    def __init__(self, chain: Chain, limits: PartLimits) -> None:
        self.chain, self.limits = chain, limits
        self.now: State = {}
        self.committed: State = {}
        self.complete: State = {}
        self.contents: dict[frozenset[object], str] = {}
        self.writer = self.new_writer()

    def new_writer(self) -> Writer:
        writer = writer_of(self.chain, self.limits)
        assert {**writer.present(), **writer.failed()} == self.committed
        self.now = dict(self.committed)
        return writer

    def do(self, name: str, *arguments: object) -> None:
        versions = self.chain.versions.numbers()
        getattr(self, name)(*arguments)
        if self.chain.versions.numbers() != versions:
            self.committed = dict(self.now)
        assert said(self.chain, self.chain.head()) == self.committed
        assert said(self.chain, self.chain.latest()) == self.complete

    def add(self, image: str, regions: set[int], input_hash: str) -> None:
        self.now.update({Key(image, region): input_hash for region in regions})
        self.writer.add([row(image, region, input_hash) for region in sorted(regions)])

    def fail(self, image: str, region: int, attempts: int) -> None:
        self.now[Key(image, region)] = failure(image, region, attempts=attempts)
        self.writer.fail(failure(image, region, attempts=attempts))

    def drop(self, image: str, region: int) -> None:
        self.now.pop(Key(image, region), None)
        self.writer.drop([Key(image, region)])

    def checkpoint(self) -> None:
        self.writer.checkpoint()
        self.committed = dict(self.now)

    def finish(self) -> None:
        manifest = self.writer.finish(inputs={}, total=len(self.now))
        self.committed = self.complete = dict(self.now)
        rows = frozenset((key, value) for key, value in self.now.items() if isinstance(value, str))
        assert self.contents.setdefault(rows, manifest.content) == manifest.content
        assert len(set(self.contents.values())) == len(self.contents)
        assert len(manifest.parts) <= 8
        self.writer = self.new_writer()

    def crash(self) -> None:
        self.writer = self.new_writer()


@settings(max_examples=25, deadline=None)
@given(st.lists(operations, max_size=25), st.integers(1, 4))
def test_any_sequence_of_adding_failing_dropping_crashing_and_finishing_equals_a_dict(
    sequence: list[tuple[object, ...]], images: int
) -> None:
    with TemporaryDirectory() as root:
        hold_to_a_dict(Store.open(Path(root) / "data", Path(root) / "cache"), sequence, images)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(operations, max_size=12), st.integers(1, 4))
def test_so_does_any_sequence_on_an_object_store(
    s3: "ObjectStorage", sequence: list[tuple[object, ...]], images: int
) -> None:
    with TemporaryDirectory() as root:
        hold_to_a_dict(Store.open(s3.new_root(), Path(root) / "cache"), sequence, images)


def hold_to_a_dict(store: Store, sequence: list[tuple[object, ...]], images: int) -> None:
    run = Run(chain_of(store), PartLimits(images=images))
    for name, *arguments in [*sequence, ("finish",)]:
        run.do(str(name), *arguments)
    assert store.verify() == []

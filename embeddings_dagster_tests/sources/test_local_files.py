import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.sources.local_files import FilesWithin


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.jpg").write_bytes(b"secret")
    root = outside / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/c.jpg").write_bytes(b"123")
    (root / "in").symlink_to("a")
    (root / "in.jpg").symlink_to("a/b/c.jpg")
    (root / "out").symlink_to("..")
    (root / "out.jpg").symlink_to("../secret.jpg")
    (root / "loop").symlink_to("loop")
    (root / "nothing.jpg").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize("path", ["a/b/c.jpg", "in/b/c.jpg", "in.jpg", "a/../a/b/c.jpg", "out/root/a/b/c.jpg"])
def test_a_file_within_the_folder_is_seen_whatever_leads_to_it(root: Path, path: str) -> None:
    files = FilesWithin(str(root))
    for _ in range(2):
        found = files.stat(path)
        assert found
        assert found.st_size == 3


@pytest.mark.parametrize(
    "path",
    [
        *("out.jpg", "out/secret.jpg", "in/../../secret.jpg", "../secret.jpg", "a/../../secret.jpg"),
        *("loop", "loop/x", "nothing.jpg", "pipe", "a", "in", "", ".", "..", "gone", "a/b/c.jpg/d", "\0", "\ud800"),
        "x" * 300,
    ],
)
def test_all_else_is_not_there(root: Path, path: str) -> None:
    files = FilesWithin(str(root))
    assert files.stat(path) is None
    assert files.stat(path) is None


def test_an_absolute_path_is_held_to_the_same(root: Path) -> None:
    assert FilesWithin(str(root)).stat(str(root.parent / "secret.jpg")) is None
    assert FilesWithin(str(root)).stat("/etc/hostname") is None


@pytest.mark.parametrize(
    ("path", "there"), [("a", True), ("a/b", True), ("in", True), ("in/b", True), ("out/root/a", True)]
)
def test_folders_within_the_folder_are_seen(root: Path, path: str, there: bool) -> None:
    assert FilesWithin(str(root)).has_folder(path) is there


@pytest.mark.parametrize("path", ["out", "..", "gone", "a/b/c.jpg", "loop", "/etc", "\0"])
def test_other_folders_are_not(root: Path, path: str) -> None:
    assert not FilesWithin(str(root)).has_folder(path)


PARTS = st.lists(
    st.sampled_from(["a", "b", "c.jpg", "in", "in.jpg", "out", "out.jpg", "root", "secret.jpg", "..", "."])
)


@given(st.lists(PARTS.map("/".join), max_size=4))
def test_no_path_leads_to_a_file_outside_whatever_was_asked_before(root: Path, paths: list[str]) -> None:
    files = FilesWithin(str(root))
    for path in paths:
        found = files.stat(path)
        real = os.path.realpath(root / path)
        inside = real.startswith(f"{root}/") and os.path.isfile(real)
        assert (found is not None) == (inside and os.path.exists(os.path.join(root, path))), path

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings_dagster.errors import ReadFailed, SourceError, TooManyBytes
from embeddings_dagster.ids import unescape_local_id
from embeddings_dagster.images.formats import FORMATS
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import FolderSource as FolderSettings
from embeddings_dagster.sources import LOOK, SCAN, Picture, Scan, open_source
from embeddings_dagster.sources.columns import EntryColumns
from embeddings_dagster.sources.folder import EXTENSIONS, FolderSource


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def write(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read(source: FolderSource, location: str, cap: int) -> bytes:
    return source.read(Picture(location, 0, location), cap)


def listed(scan: Scan) -> list[str]:
    return scan.entries["local_id"].to_pylist()


def reasons(scan: Scan) -> dict[str, str]:
    return {problem.location: problem.reason for problem in scan.problems}


def test_pictures_are_listed_recursively_and_sorted_whatever_the_case_of_their_extension(root: Path) -> None:
    write(root, "b.PNG", "a/z.jpeg", "a/b/c/d.WebP", "a.tif", "B.jpg")
    scan = FolderSource("photos", root).scan()
    assert listed(scan) == ["B.jpg", "a.tif", "a/b/c/d.WebP", "a/z.jpeg", "b.PNG"]
    assert scan.problems == ()
    assert scan.ignored == {}


def test_an_entry_says_all_that_is_known_without_reading(root: Path) -> None:
    write(root, "a/b.png", data=b"12345")
    os.utime(root / "a/b.png", ns=(1, 1_700_000_000_123_456_789))
    scan = FolderSource("refs", root, prefix="ref_").scan()
    assert scan.entries.schema == SCAN
    assert scan.entries.to_pylist() == [
        {
            "local_id": "ref_a/b.png",
            "item_id": "ref_a/b.png",
            "ordinal": 0,
            "batch": None,
            "location": "a/b.png",
            "size": 5,
            "mtime_ns": 1_700_000_000_123_456_789,
            "etag": None,
            "record_hash": None,
            "record_file": None,
        }
    ]


def test_every_format_that_decodes_is_found_by_its_usual_name() -> None:
    assert {kind.extension for kind in FORMATS} <= EXTENSIONS


def test_other_kinds_and_hidden_things_are_counted_not_listed(root: Path) -> None:
    write(root, "a.png", "notes.txt", "png", "raw.cr2", ".hidden.png", ".git/deep/b.png", "._a.png")
    scan = FolderSource("photos", root).scan()
    assert listed(scan) == ["a.png"]
    assert scan.ignored == {"hidden": 3, "not a picture by its extension": 3}


def test_hidden_things_are_listed_on_request(root: Path) -> None:
    write(root, "a.png", ".hidden.png", ".git/deep/b.png")
    assert listed(FolderSource("photos", root, hidden=True).scan()) == [".git/deep/b.png", ".hidden.png", "a.png"]


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline.png",
        "emoji \N{FOX FACE} ü.png".encode(),
        b"\xff\xfe broken.png",
        b"100% #1.png",
        b"tab\t.png",
        b"~.png",
    ],
)
def test_any_name_the_disk_allows_becomes_a_printable_id_and_is_read_back(root: Path, name: bytes) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(name)
    source = FolderSource("photos", root)
    scan = source.scan()
    (local_id,) = listed(scan)
    assert local_id.isprintable()
    assert "#" not in local_id
    assert os.fsencode(unescape_local_id(local_id)) == name
    (location,) = scan.entries["location"].to_pylist()
    assert read(source, location, 100) == name
    assert source.look(scan.entries["location"])["size"].to_pylist() == [len(name)]


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_and_ids_are_one_to_one(root: Path, names: list[bytes]) -> None:
    for each in root.iterdir():
        each.unlink()
    wanted = {name.translate(None, b"/\0") + b".png" for name in names}
    for name in wanted:
        (root / os.fsdecode(b"x" + name)).touch()
    found = listed(FolderSource("photos", root).scan())
    assert {os.fsencode(unescape_local_id(each)) for each in found} == {b"x" + name for name in wanted}
    assert len(found) == len(wanted)


# ---- links


def test_links_are_not_followed_unless_asked_for(root: Path) -> None:
    write(root, "a.png", "folder/b.png")
    (root / "link.png").symlink_to("a.png")
    (root / "linked").symlink_to("folder")
    scan = FolderSource("photos", root).scan()
    assert listed(scan) == ["a.png", "folder/b.png"]
    assert scan.ignored == {"symbolic link": 2}


def test_links_within_the_root_are_taken_on_request_and_folders_are_listed_once(root: Path) -> None:
    write(root, "a.png", "folder/b.png")
    (root / "link.png").symlink_to("a.png")
    (root / "linked").symlink_to("folder")
    (root / "folder" / "loop").symlink_to("..")
    (root / "self").symlink_to("self")
    scan = FolderSource("photos", root, follow_symlinks=True).scan()
    assert listed(scan) == ["a.png", "folder/b.png", "link.png"]
    assert scan.ignored == {"linked folder, listed under its real path": 2}
    assert reasons(scan) == {"self": "is a link to nothing; restore what it leads to, or delete it"}


def test_links_out_of_the_root_are_refused_and_accounted_for(root: Path, tmp_path: Path) -> None:
    write(tmp_path, "secret.png", "outside/c.png", "pictures-2/d.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "twin.png").symlink_to(tmp_path / "pictures-2/d.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    source = FolderSource("photos", root, follow_symlinks=True)
    scan = source.scan()
    assert listed(scan) == []
    leads_out = "leads out of the source's folder; make where it leads a source of its own"
    assert reasons(scan) == {
        "dangling.png": "is a link to nothing; restore what it leads to, or delete it",
        "out": leads_out,
        "out.png": leads_out,
        "twin.png": leads_out,
    }
    for location in ("out.png", "out/c.png", "twin.png"):
        with pytest.raises(ReadFailed, match=f"{location}: lies outside of the folder of source 'photos'"):
            read(source, location, 100)


def test_a_root_that_is_a_link_itself_is_fine(root: Path, tmp_path: Path) -> None:
    write(root, "a.png")
    (tmp_path / "alias").symlink_to(root)
    source = FolderSource("photos", tmp_path / "alias")
    assert listed(source.scan()) == ["a.png"]
    assert read(source, "a.png", 10) == b"x"


def test_what_is_no_regular_file_is_counted_and_never_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    (root / "folder.png").mkdir()
    source = FolderSource("photos", root)
    assert source.scan().ignored == {"not a regular file": 1}
    for location in ("pipe.png", "folder.png"):
        with pytest.raises(ReadFailed, match=rf"{location}: (is not a regular file|cannot be read)"):
            read(source, location, 10)


# ---- errors


@pytest.mark.parametrize("state", ["does not exist", "is not a folder"])
def test_a_root_that_is_not_there_is_an_error(root: Path, state: str) -> None:
    root.rmdir()
    if state == "is not a folder":
        root.write_text("")
    with pytest.raises(
        SourceError, match=rf"source 'photos': .* {state}; mount or create it, or correct sources\.photos\.path"
    ):
        FolderSource("photos", root).scan()


@pytest.mark.parametrize("folder", ["", "a/b"])
def test_a_folder_that_cannot_be_listed_is_an_error_for_the_whole_source(
    root: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal is played: the tests may run as root, who is refused nothing."""
    write(root, "1.png", "a/b/2.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.path.realpath(path) == os.path.realpath(root / folder):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        SourceError, match=rf"{folder or 'its root'} cannot be listed \(Permission denied\), so nothing"
    ):
        FolderSource("photos", root).scan()


def test_an_unreadable_file_is_listed_and_fails_when_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "a.png", "b.png")
    source = FolderSource("photos", root)
    opened = os.open

    def refuse(path: str, *args: object) -> int:
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args)

    monkeypatch.setattr(os, "open", refuse)
    assert listed(source.scan()) == ["a.png", "b.png"]
    assert read(source, "b.png", 5) == b"x"
    with pytest.raises(ReadFailed, match=r"a.png: cannot be read \(Permission denied\); check its permissions"):
        read(source, "a.png", 5)


def test_a_file_that_vanished_is_a_retryable_failure(root: Path) -> None:
    with pytest.raises(ReadFailed, match=r"gone.png: not there any more") as caught:
        read(FolderSource("photos", root), "gone.png", 5)
    assert caught.value.retryable


@pytest.mark.parametrize("location", ["../secret.png", "a/../../secret.png", "/etc/hostname", "%2E%2E/secret.png"])
def test_nothing_outside_of_the_root_is_read(root: Path, tmp_path: Path, location: str) -> None:
    write(tmp_path, "secret.png")
    write(root, "a/x.png")
    with pytest.raises(ReadFailed, match="lies outside of the folder of source 'photos'"):
        read(FolderSource("photos", root), location, 100)


def test_a_name_no_disk_allows_is_a_failure(root: Path) -> None:
    with pytest.raises(ReadFailed, match=r"%00.png: cannot be read \(.*null"):
        read(FolderSource("photos", root), "%00.png", 100)


def test_a_file_above_the_cap_is_not_read(root: Path) -> None:
    write(root, "a.png", data=bytes(1000))
    source = FolderSource("photos", root)
    assert len(read(source, "a.png", 1000)) == 1000
    with pytest.raises(TooManyBytes, match=r"a.png: 1,000 bytes are more than rgb.max_bytes = 999; raise it"):
        read(source, "a.png", 999)


def test_a_sparse_terabyte_costs_nothing(root: Path) -> None:
    with open(root / "huge.png", "wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(TooManyBytes):
            read(FolderSource("photos", root), "huge.png", 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_look_gives_size_and_mtime_in_the_order_asked_and_null_for_what_is_gone(root: Path) -> None:
    write(root, "a.png", data=b"123")
    found = FolderSource("photos", root).look(pa.chunked_array([["gone.png", "a.png"], ["%00"]]))
    assert found.schema == LOOK
    assert found["location"].to_pylist() == ["gone.png", "a.png", "%00"]
    assert found["size"].to_pylist() == [None, 3, None]
    assert found["mtime_ns"].to_pylist() == [None, (root / "a.png").stat().st_mtime_ns, None]


# ---- size


def test_a_hundred_thousand_entries_take_less_than_500_bytes_each() -> None:
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        columns = EntryColumns()
        for number in range(100_000):
            name = f"folder-{number % 97}/a-name-of-some-length-{number:08d}.jpg"
            columns.add(name, name, number, number)
        table = columns.table()
        python_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    arrow = pa.total_allocated_bytes() - before
    assert (python_peak + arrow) / 100_000 < 500, "with the columns there twice, sorted and not"
    assert table["local_id"].to_pylist()[:2] == sorted(table["local_id"].to_pylist())[:2]


def test_a_source_is_opened_from_the_settings(root: Path) -> None:
    write(root, "a.png")
    options = FolderSettings(kind="folder", path=root, prefix="p_", hidden=True)
    source = open_source("photos", Settings(sources={"photos": options}))
    assert source.name == "photos"
    assert listed(source.scan()) == ["p_a.png"]
    with pytest.raises(KeyError):
        open_source("other", Settings())

"""Where exports may go, and that what interrupts one leaves the old export, the new one, or none that looks whole."""

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster.errors import ExportFailed, ExportRefused, Stopped
from embeddings_dagster.exports import Wanted, export_faiss, export_json, export_npy
from embeddings_dagster.exports import rows as rows_module
from embeddings_dagster.exports.staging import ABANDONED
from embeddings_dagster.store.litter import EXPORTING
from embeddings_dagster_tests.exports.shelf import Shelf, make_shelf, names, read

EXPORTS = [export_npy, export_json, export_faiss]


@pytest.fixture
def filled(shelf: Shelf) -> Shelf:
    shelf.put("art:x", "art:y")
    return shelf


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_takes_the_place_of_the_one_before(filled: Shelf, export: object) -> None:
    first = export(filled.context, None, filled.root / "out")  # type: ignore[operator]
    filled.put("art:z")
    second = export(filled.context, None, filled.root / "out")  # type: ignore[operator]
    assert (first.rows, second.rows) == (2, 3)
    assert names(first) == names(second) == sorted(contents(filled.root / "out"))


@pytest.mark.parametrize("name", ["art.npy", "art_ids.json", "art_info.json"])
def test_what_no_export_made_is_not_overwritten_unless_asked(filled: Shelf, name: str) -> None:
    """The ids, too: beside our vectors they would be read as theirs."""
    (filled.root / name).write_text('{"mine": true}')
    with pytest.raises(ExportRefused, match=rf"{name} is there, and is not known .* overwrite it with --force"):
        export_npy(filled.context, None, filled.root / "art.npy")
    assert (filled.root / name).read_text() == '{"mine": true}'
    export_npy(filled.context, None, filled.root / "art.npy", force=True)
    assert read(filled.root / "art_ids.json") == ["x", "y"]
    export_npy(filled.context, None, filled.root / "art.npy")


def test_an_export_of_a_newer_release_is_not_overwritten_and_one_of_an_older_is(filled: Shelf) -> None:
    export_npy(filled.context, None, filled.root / "art.npy")
    info = filled.root / "art_info.json"
    said = read(info)
    assert said["format_version"] == 1
    info.write_text(json.dumps({**said, "format_version": 2}))
    before = contents(filled.root)
    with pytest.raises(ExportRefused, match=r"art_info\.json is of format 2, .* upgrade embeddings-dagster"):
        export_npy(filled.context, None, filled.root / "art.npy")
    assert contents(filled.root) == before
    info.write_text(json.dumps({name: value for name, value in said.items() if name != "format_version"}))
    export_npy(filled.context, None, filled.root / "art.npy")
    assert read(info)["format_version"] == 1


OURS = '"made_by": "embeddings-dagster"'


@pytest.mark.parametrize(
    "said",
    ["", "[]", "null", '{"made_by": 1}', "[" * 100_000, f'{{{OURS}, "format": "npy", "files": 1}}', f"{{{OURS}}}"],
    ids=["empty", "list", "null", "number", "deep", "no files", "no format"],
)
def test_a_description_that_is_none_protects_what_is_there(filled: Shelf, said: str) -> None:
    (filled.root / "art_info.json").write_text(said)
    (filled.root / "art.npy").write_bytes(b"mine")
    with pytest.raises(ExportRefused, match="not known"):
        export_npy(filled.context, None, filled.root / "art.npy")


def test_the_description_of_another_models_vectors_is_not_overwritten(filled: Shelf) -> None:
    """Both would be `embedding_metadata.json`, and the vectors of one would lie beside the ids of the other."""
    filled.root.joinpath("out").mkdir()
    export_npy(filled.context, None, filled.root / "out")
    (filled.root / "out" / "clip_embeddings.npy").rename(filled.root / "out" / "dino_embeddings.npy")
    said = (filled.root / "out" / "embedding_metadata.json").read_text()
    (filled.root / "out" / "embedding_metadata.json").write_text(said.replace("clip_embeddings", "dino_embeddings"))
    with pytest.raises(ExportRefused, match=r"embedding_metadata.json is there"):
        export_npy(filled.context, None, filled.root / "out")


@pytest.mark.parametrize("inside", ["data", "data/indexes/clip", "data/exports/../raw_images", "data/cache/x"])
def test_nothing_goes_among_the_files_of_the_store(filled: Shelf, inside: str) -> None:
    before = contents(filled.root / "data" / "indexes")
    with pytest.raises(ExportRefused, match=r"only .*exports is free"):
        export_npy(filled.context, None, filled.root / inside)
    (filled.root / "link").symlink_to(filled.root / "data")
    with pytest.raises(ExportRefused, match="lies in the store"):
        export_npy(filled.context, None, filled.root / "link" / "art.npy")
    assert contents(filled.root / "data" / "indexes") == before
    assert sorted(path.name for path in (filled.root / "data").iterdir()) == ["cache", "indexes", "models"]
    assert export_npy(filled.context, None, filled.root / "link" / "exports" / "art.npy").rows == 2


def test_nothing_goes_into_a_cache_that_lies_elsewhere(filled: Shelf, tmp_path: Path) -> None:
    filled.context.store.cache = tmp_path / "cache"
    with pytest.raises(ExportRefused, match="in the cache, which may be deleted"):
        export_npy(filled.context, None, tmp_path / "cache" / "out")


def test_a_file_of_another_format_is_no_name(filled: Shelf) -> None:
    with pytest.raises(ExportRefused, match=r"art.json is not the name of a .npy file"):
        export_npy(filled.context, None, filled.root / "art.json")
    export_npy(filled.context, None, filled.root / "art.v2")
    assert (filled.root / "art.v2" / "clip_embeddings.npy").exists()
    (filled.root / "folder.json").mkdir()
    export_npy(filled.context, None, filled.root / "folder.json")
    assert (filled.root / "folder.json" / "clip_embeddings.npy").exists()


def test_a_folder_in_the_place_of_a_file_is_refused(filled: Shelf) -> None:
    (filled.root / "art_info.json").mkdir()
    with pytest.raises(ExportRefused, match=r"art_info.json is a folder"):
        export_npy(filled.context, None, filled.root / "art.npy", force=True)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a full disk: writes beyond it fail. The system's own limit, in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("export", EXPORTS)
def test_no_room_leaves_what_was_there(shelf: Shelf, export: object) -> None:
    shelf.put("art:x")
    export(shelf.context, None, shelf.root / "out")  # type: ignore[operator]
    before = contents(shelf.root / "out")
    shelf.put(*(f"art:{number}" for number in range(3000)))
    with files_of_at_most(64_000), pytest.raises(ExportFailed, match=r"nothing was exported to .*out: .*make room"):
        export(shelf.context, None, shelf.root / "out")  # type: ignore[operator]
    assert contents(shelf.root / "out") == before
    with files_of_at_most(64_000), pytest.raises(ExportFailed, match="make room"):
        export(shelf.context, None, shelf.root / "new" / "er")  # type: ignore[operator]
    assert not (shelf.root / "new").exists()


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(filled: Shelf) -> None:
    (filled.root / "file").write_text("")
    with pytest.raises(ExportFailed, match=r"file.*Not a directory; make room there, or correct"):
        export_npy(filled.context, None, filled.root / "file" / "out")
    with pytest.raises(ExportFailed, match="File name too long"):
        export_npy(filled.context, None, filled.root / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error_with_a_remedy(filled: Shelf) -> None:
    (filled.root / "closed").mkdir(mode=0o500)
    with pytest.raises(ExportFailed, match="Permission denied"):
        export_npy(filled.context, None, filled.root / "closed")


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("looks", [0, 1, 2, 3])
def test_a_stop_is_obeyed_between_blocks_and_leaves_nothing(
    shelf: Shelf, export: object, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 2 * 4 * 8)
    shelf.put(*(f"art:{number}" for number in range(8)))
    stop = threading.Event()
    done: list[int] = []

    def progress(*each: object) -> None:
        done.append(1)
        if len(done) == looks:
            stop.set()

    if looks == 0:
        stop.set()
    context = replace(shelf.context, stop=stop, progress=progress)
    with pytest.raises(Stopped, match="nothing was exported"):
        export(context, None, shelf.root / "out")  # type: ignore[operator]
    assert len(done) == looks
    assert not (shelf.root / "out").exists()


def test_what_killed_exports_left_goes_when_it_is_a_day_old(filled: Shelf) -> None:
    for name, age in (("old", ABANDONED + 60), ("new", 60)):
        left = filled.root / "out" / f"{EXPORTING}{name}"
        left.mkdir(parents=True)
        (left / "clip_embeddings.npy").write_bytes(b"half")
        for path in (left / "clip_embeddings.npy", left):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    export_npy(filled.context, None, filled.root / "out")
    assert {path.name for path in (filled.root / "out").iterdir()} == {
        "clip_embeddings.npy", "embedding_metadata.json", f"{EXPORTING}new",
    }  # fmt: skip


DRIVER = """
import sys
from pathlib import Path
from embeddings_dagster.exports import export_npy
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store import Store
settings = load_settings(Path(sys.argv[1]) / "embeddings.yaml")
export_npy(StageContext(settings, Store.open(settings.data_root, settings.cache_root), "run"), None, Path(sys.argv[2]))
"""


@pytest.mark.parametrize("step", ["export:begun", "export:placed:1", "export:placed:2", "export:placed:3"])
def test_a_kill_at_any_step_never_leaves_ids_beside_vectors_of_another_state(filled: Shelf, step: str) -> None:
    out = filled.root / "art.npy"
    export_npy(filled.context, None, out)
    filled.put("art:a")
    env = {**os.environ, "EMBEDDINGS_KILL_AT": step}
    done = subprocess.run([sys.executable, "-c", DRIVER, filled.root, out], env=env, check=False)
    assert done.returncode == -9
    rows = len(np.load(out))
    ids = filled.root / "art_ids.json"
    assert not ids.exists() or len(read(ids)) == rows
    assert rows == (2 if step == "export:begun" else 3)
    assert read(filled.root / "art_info.json")["complete"] == (step == "export:placed:3")
    assert "count" not in read(filled.root / "art_info.json") or rows == 3
    assert export_npy(filled.context, None, out).rows == 3, "it is still known as ours"
    assert read(ids) == ["a", "x", "y"]


def test_exports_to_one_place_at_the_same_time_end_as_one_of_them(shelf: Shelf) -> None:
    """Each thread works on a store of its own, as processes do."""
    shelf.put("art:1", "art:3", "shop:a", "shop:b", "shop:c")
    out = shelf.root / "both.npy"
    errors: list[BaseException] = []

    def work(source: str) -> None:
        try:
            mine = make_shelf(shelf.root)
            for _ in range(5):
                export_npy(mine.context, Wanted(sources=(source,)), out)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(source,)) for source in ("art", "shop")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert len(np.load(out)) == len(read(shelf.root / "both_ids.json")) == read(shelf.root / "both_info.json")["count"]
    assert not list(shelf.root.glob(f"{EXPORTING}*"))

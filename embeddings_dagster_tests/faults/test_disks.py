"""Disks that run full or are read-only, and permissions that are missing: said in a sentence, nothing lost, and the
next run makes up for it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.command import COMMAND, environment
from embeddings_dagster_tests.cli.conftest import Command
from embeddings_dagster_tests.faults.mounts import disks, needs_namespace
from embeddings_dagster_tests.faults.projects import artwork, rows_of, store_of
from embeddings_dagster_tests.shop import open_shop

FULL = "No space left on device. Make room on that disk, then run again; what was committed is whole."
MB = 2**20
OWN_PERMISSIONS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # root looks at them like others then


def assert_told(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Exit code 1, an error with these words, and no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    _, error, told = done.stderr.partition("error: ")
    assert error, done.stderr
    assert [word for word in words if word not in told] == [], done.stderr
    assert "Traceback" not in done.stderr


@needs_namespace
def test_data_on_a_disk_that_runs_full(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = artwork(tmp_path / "undisturbed", 24)
    monkeypatch.chdir(undisturbed)
    assert command("run").code == 0
    expected = rows_of(store_of(undisturbed))
    size = sum(each.stat().st_size for each in (undisturbed / "data").rglob("*") if each.is_file())

    root = artwork(tmp_path / "project", 24)
    with disks() as there:
        there.small(root / "data", size * 6 // 10)
        assert_told(there.run("run", cwd=root), f"{root / 'data'}/rgb_images/art__000001/parts/", FULL)
        store = Store.open(there.seen(root / "data"), tmp_path / "cache of its own")
        left = rows_of(store)
        assert left["raw_images"] == expected["raw_images"], "what came before is committed"
        assert left["rgb_images"].keys() == {each for each in expected["rgb_images"] if each.startswith("more:")}
        assert verify(store) == []
        assert list(there.seen(root / "data").rglob("*.tmp")) == []
        there.grow(root / "data", 2 * size)
        done = there.run("run", cwd=root)
        assert done.returncode == 0, done.stderr
        assert rows_of(store) == expected
        assert verify(store) == []


@needs_namespace
@pytest.mark.torture
def test_history_on_a_disk_that_is_full(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    with disks() as there:
        there.small(root / ".dagster", 4 * MB)
        filler = there.fill(root / ".dagster", 100_000)
        told = f"{root / '.dagster'} cannot be used: database or disk is full. Make room"
        assert_told(there.run("run", cwd=root), told)
        filler.unlink()
        assert there.run("run", cwd=root).returncode == 0
    assert verify(store_of(root)) == []


@needs_namespace
@pytest.mark.torture
def test_history_that_runs_full_in_the_middle(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    with disks() as there:
        there.small(root / ".dagster", 16 * MB)
        assert there.run("run", cwd=root).returncode == 0
        for left in range(0, 200_000, 20_000):
            shutil.rmtree(root / "data")
            filler = there.fill(root / ".dagster", left)
            done = there.run("run", cwd=root)
            if done.returncode:
                assert_told(done, f"{root / '.dagster'} cannot be used", "room on")
            filler.unlink()
            again = there.run("run", cwd=root)
            assert again.returncode == 0, again.stderr
            assert verify(store_of(root)) == []


@needs_namespace
@pytest.mark.torture
def test_a_cache_without_room_is_told_and_readers_do_without_it(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    with disks() as there:
        there.small(root / "cache", 2 * MB)
        filler = there.fill(root / "cache")
        assert_told(there.run("run", cwd=root), f"{root / 'cache'}/catalog/state.sqlite cannot be used", "Make room")
        for command in ("status", "verify", "plan"):
            assert there.run(command, cwd=root).returncode in (0, 1)
        filler.unlink()
        assert there.run("run", cwd=root).returncode == 0
        assert verify(store_of(root)) == []


@needs_namespace
@pytest.mark.torture
def test_downloads_without_room_are_fetched_when_there_is_some(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    with open_shop() as shop, disks() as there:
        rows = "".join(f"{number},{shop.url(f'/many/{number}.png')}\n" for number in range(5))
        (root / "shop.csv").write_text(f"id,image_url\n{rows}")
        (root / "embeddings.yaml").write_text(
            "sources: {shop: {kind: catalog, path: shop.csv, download: {private_hosts: [127.0.0.1]}}}\nmodels: {}\n"
        )
        there.small(root / "data" / "image_cache", MB)
        filler = there.fill(root / "data" / "image_cache")
        assert_told(there.run("run", cwd=root), str(root / "data" / "image_cache"))
        filler.unlink()
        assert there.run("run", cwd=root).returncode == 0
        assert len(rows_of(store_of(root))["raw_images"]) == 5


@needs_namespace
@pytest.mark.torture
def test_nothing_needs_room_for_temporary_files(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    with disks() as there:
        there.small(tmp_path / "full", MB)
        there.fill(tmp_path / "full")
        done = there.run("run", cwd=root, TMPDIR=str(tmp_path / "full"))
        assert done.returncode == 0, done.stderr


@needs_namespace
def test_on_a_read_only_root_all_but_writing_works(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = artwork(tmp_path)
    monkeypatch.chdir(root)
    assert command("run").code == 0
    before = rows_of(store_of(root))
    shutil.copy2(next((root / "pics").glob("*.png")), root / "pics" / "new.png")
    with disks() as there:
        there.read_only(root / "data")
        there.read_only(root / "cache")
        told = "cannot be written: Read-only file system. That disk is mounted read-only: mount it for writing"
        assert_told(there.run("run", cwd=root), f"{root / 'data'}/", told)
        for asked in (("verify",), ("files", "rgb_images")):
            done = there.run(*asked, cwd=root)
            assert done.returncode == 0, done.stderr
        there.writable(root / "data")
        there.writable(root / "cache")
    assert rows_of(store_of(root)) == before
    assert command("run").code == 0
    assert rows_of(store_of(root))["rgb_images"].keys() == before["rgb_images"].keys() | {"art:new.png"}


def run_without_power(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A command to which permissions apply, whoever runs it."""
    prefix = OWN_PERMISSIONS if cannot_be_denied(cwd) else []
    return subprocess.run(
        [*prefix, COMMAND, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


def cannot_be_denied(folder: Path) -> bool:
    probe = folder / ".probe"
    probe.touch(mode=0)
    try:
        probe.read_bytes()
    except PermissionError:
        return False
    finally:
        probe.unlink()
    return True


def allow(place: Path, mode: int) -> None:
    """Set what is allowed in a folder, and in all that is below it."""
    for each in (place, *place.rglob("*")):
        each.chmod(mode | 0o111 if each.is_dir() else mode)


@pytest.mark.torture
def test_without_permission_to_read_a_source_nothing_is_removed(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    if cannot_be_denied(root) and shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to take its power away")
    assert run_without_power("run", cwd=root).returncode == 0
    before = rows_of(store_of(root))
    (root / "pics").chmod(0)
    try:
        done = run_without_power("run", cwd=root)
    finally:
        (root / "pics").chmod(0o755)
    assert_told(done, "source 'art': its root cannot be listed (Permission denied)", "Nothing was removed")
    assert rows_of(store_of(root)) == before


@pytest.mark.torture
def test_without_permission_for_cache_history_or_settings_each_is_named(tmp_path: Path) -> None:
    root = artwork(tmp_path)
    if cannot_be_denied(root) and shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to take its power away")
    assert run_without_power("run", cwd=root).returncode == 0
    shutil.copy2(next((root / "pics").glob("*.png")), root / "pics" / "new.png")
    for place, named in ((root / "cache", root / "cache"), (root / ".dagster", root / ".dagster")):
        allow(place, 0o444)
        try:
            assert_told(run_without_power("run", cwd=root), str(named), "Give this user the permission")
            for command in ("status", "verify"):
                assert run_without_power(command, cwd=root).returncode == 0
        finally:
            allow(place, 0o644)
    allow(root / "embeddings.yaml", 0)
    try:
        assert_told(run_without_power("status", cwd=root), "embeddings.yaml", "Permission denied")
    finally:
        allow(root / "embeddings.yaml", 0o644)
    assert run_without_power("run", cwd=root).returncode == 0
    assert verify(store_of(root)) == []

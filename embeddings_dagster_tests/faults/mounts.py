"""Disks of a test's own, in a mount namespace that nothing else sees and that goes with its process: small ones that
run full, and folders that are read-only even to root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest

from embeddings_dagster_tests.cli.command import COMMAND, environment


@lru_cache
def refusal() -> str:
    """Why no namespace can be had here; empty where it can."""
    try:
        done = subprocess.run(
            ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "there is no unshare here"
    return done.stderr.strip() if done.returncode else ""


needs_namespace = pytest.mark.skipif(bool(refusal()), reason=f"no private mount namespace: {refusal()}")


class Disks:
    """A namespace. Paths are the same inside; `seen` is where this process finds them."""

    def __init__(self, holder: int) -> None:
        self._holder = holder

    def do(self, *command: str | Path) -> None:
        """A command inside, which must succeed."""
        subprocess.run([*self._enter(), *command], check=True, capture_output=True, text=True)

    def small(self, folder: Path, size: int) -> None:
        """A disk of `size` bytes, empty, at a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.do("mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "none", folder)

    def grow(self, folder: Path, size: int) -> None:
        self.do("mount", "-o", f"remount,size={size}", folder)

    def read_only(self, folder: Path) -> None:
        """A folder that is there, read-only from now on."""
        self.do("mount", "--bind", folder, folder)
        self.do("mount", "-o", "remount,ro,bind", folder)

    def writable(self, folder: Path) -> None:
        self.do("umount", folder)

    def seen(self, path: Path) -> Path:
        return Path(f"/proc/{self._holder}/root{path}")

    def fill(self, folder: Path, left: int = 0) -> Path:
        """Fill a disk but for `left` bytes; returns the file that does."""
        place = self.seen(folder)
        room = os.statvfs(place)
        filler = place / ".filler"
        with filler.open("wb") as file:
            file.write(bytes(max(room.f_bavail * room.f_frsize - left, 0)))
        return filler

    def run(self, *arguments: str, cwd: Path, **over: str) -> "subprocess.CompletedProcess[str]":
        """`embeddings ARGUMENTS` inside."""
        return subprocess.run(
            [*self._enter(), f"--wd={cwd}", COMMAND, *arguments],
            env=environment(**over), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._holder}", "--mount"]


@contextmanager
def disks() -> Iterator[Disks]:
    """A namespace for a while."""
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield Disks(holder.pid)
    finally:
        holder.communicate()  # closes its input, which ends it

"""Where a store of a test lies: in a folder, or in a bucket. Each is looked at, and injured, by other means than the
store's own."""

from pathlib import Path
from typing import Any, Protocol

from embeddings_dagster.store import Store


class Place(Protocol):
    """`root` is the store's; `folder` is a local one, for caches and for what tests note."""

    root: str
    folder: Path

    def paths(self) -> list[str]:
        """Every file, relative to the root, sorted."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes) -> None: ...

    def delete(self, path: str) -> None: ...


class OnDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder / "data")

    def paths(self) -> list[str]:
        root = Path(self.root)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def read(self, path: str) -> bytes:
        return (Path(self.root) / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        there = Path(self.root) / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(data)

    def delete(self, path: str) -> None:
        (Path(self.root) / path).unlink()


class InBucket:
    def __init__(self, folder: Path, root: str) -> None:
        import s3fs

        self.folder, self.root = folder, root
        self._client: Any = s3fs.S3FileSystem(use_listings_cache=False)

    def paths(self) -> list[str]:
        start = self.root.removeprefix("s3://") + "/"
        return sorted(str(path).removeprefix(start) for path in self._client.find(self.root))

    def read(self, path: str) -> bytes:
        return bytes(self._client.cat_file(f"{self.root}/{path}"))

    def write(self, path: str, data: bytes) -> None:
        self._client.pipe_file(f"{self.root}/{path}", data)

    def delete(self, path: str) -> None:
        self._client.rm_file(f"{self.root}/{path}")


def open_at(place: Place, cache: str = "cache") -> Store:
    return Store.open(place.root, place.folder / cache)

"""What a run, an idle tick and a search ask of a bucket, counted by a server of S3's API on this machine.

    python benchmarks/bench_object_storage.py

Writes its table into docs/object-storage.md.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from render_artwork import render_artwork  # noqa: E402

from embeddings_dagster_tests.object_storage import BUCKET, ObjectStorage  # noqa: E402

PAGE = ROOT / "docs" / "object-storage.md"
BEGIN, END = "<!-- requests: benchmarks/bench_object_storage.py -->\n", "\n<!-- end of requests -->"
KINDS = ("LIST", "PUT", "GET", "HEAD", "DELETE")
SETTINGS = """\
data: {root}
cache: cache
batch_images: {batch}
sources: {{art: {{kind: folder, path: pictures}}}}
models: {{clip: {{kind: clip, model: "bundled:clip", device: cpu}}}}
"""
Count = Callable[[str, Callable[[], object]], None]
RUN = (sys.executable, "-c", "from embeddings_dagster.cli import main; main()")
SEARCH = """
from embeddings_dagster.search import SearchService
from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store

settings = load_settings()
service = SearchService(settings, Store.open(settings.data_root, settings.cache_root))
service.search(image_id="art:0003.png")
print("begun", flush=True)
input()
service.search(image_id="art:0003.png")
"""
TICKS = """
from embeddings_dagster.defs.home import project_instance
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings import load_settings
from embeddings_dagster_tests.defs.ticking import Ticking

settings = load_settings()
with project_instance(settings) as instance:
    tick = Ticking(Project(settings), instance)
    tick()
    print("begun", flush=True)
    input()
    assert tick() == []
"""


def main() -> None:
    """Count, and write the table."""
    storage = ObjectStorage()
    os.environ.update(storage.environment())
    import s3fs

    s3fs.S3FileSystem(use_listings_cache=False).call_s3("create_bucket", Bucket=BUCKET)
    rows: dict[str, Counter[str]] = {}

    def count(what: str, do: Callable[[], object]) -> None:
        with storage.counted() as counts:
            do()
        rows[what] = counts
        print(what, dict(counts))

    with tempfile.TemporaryDirectory() as folder:
        one = project(Path(folder) / "one", storage.new_root(), 24, 4096)
        four = project(Path(folder) / "four", storage.new_root(), 8, 2)
        count("first run, a batch of 24 pictures", lambda: run(one))
        count("first run, 4 batches of 2 pictures", lambda: run(four))
        count("a run that finds nothing to do, 1 batch", lambda: run(one))
        count("a run that finds nothing to do, 4 batches", lambda: run(four))
        twice(four, TICKS, count, None, "a tick of the sensor that finds nothing to do, 4 batches")
        (four / "cache").rename(four / "elsewhere")
        again = "another search of that process, right after"
        twice(four, SEARCH, count, "a search, the first on a machine", again)
        twice(four, SEARCH, count, "a search by a new process on that machine", again)
    storage.stop()
    counted = [(what, *(told(counts, kind) for kind in KINDS)) for what, counts in rows.items()]
    table = [("", *KINDS), ("---",) * (len(KINDS) + 1), *counted]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    PAGE.write_text(f"{before}{BEGIN}{lines}{END}{rest.partition(END)[2]}")


def told(counts: Counter[str], kind: str) -> str:
    return str(counts[kind]) if counts[kind] else ""


def project(folder: Path, root: str, pictures: int, batch: int) -> Path:
    """A new one, on a store of its own."""
    render_artwork(folder / "pictures", pictures)
    (folder / "embeddings.yaml").write_text(SETTINGS.format(root=root, batch=batch))
    return folder


def run(folder: Path) -> None:
    subprocess.run((*RUN, "run"), cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def twice(folder: Path, script: str, count: Count, first: str | None, then: str) -> None:
    """What a process asks until it has begun, and what it asks when it goes on."""
    command = (sys.executable, "-c", script)
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        read = process.stdout.readline
        if first:
            count(first, lambda: require(read()))
        else:
            require(read())

        def go_on() -> None:
            process.communicate("\n")
            require(not process.returncode)

        count(then, go_on)


def require(well: object) -> None:
    if not well:
        raise SystemExit("a script of this benchmark failed; see above")


if __name__ == "__main__":
    main()

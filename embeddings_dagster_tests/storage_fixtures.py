"""The fixtures of tests that work with S3: a server for each process of the tests, and where it is found."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from embeddings_dagster_tests.object_storage import ObjectStorage


@pytest.fixture(scope="session")
def s3_server() -> Iterator["ObjectStorage"]:
    from embeddings_dagster_tests.object_storage import ObjectStorage  # moto takes a moment

    server = ObjectStorage()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: "ObjectStorage", monkeypatch: pytest.MonkeyPatch) -> "ObjectStorage":
    """The server, with an empty bucket, where this process and those it starts find it."""
    import s3fs

    from embeddings_dagster_tests.object_storage import BUCKET, FORGOTTEN

    for name in FORGOTTEN:
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(use_listings_cache=False)
    if not s3_server.requests:
        system.call_s3("create_bucket", Bucket=BUCKET)
    return s3_server

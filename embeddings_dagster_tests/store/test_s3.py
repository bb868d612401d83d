"""What a bucket does that a disk does not: refuse, lose an answer, page its listings, and bill requests."""

import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings_dagster.errors import NotExclusive, SettingsError, StorageUnavailable, StoreError
from embeddings_dagster.settings import load_settings
from embeddings_dagster.store import Store, Versions
from embeddings_dagster.store.files_s3 import S3Files
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster_tests.object_storage import KEY, SECRET, ObjectStorage, always, once
from embeddings_dagster_tests.store.helpers import chain_of, commit, said, writer_of

DENIED = (
    """<DeleteResult><Error><Key>store/a/1</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"""
)
REFUSED = "the credentials in force were refused"
BUSY = "busy or broken, however often it is asked"
REGION = "another region"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, s3: ObjectStorage) -> Iterator[None]:
    """Clients that ask a few times only, and are nobody else's."""
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def files(s3: ObjectStorage, tmp_path: Path) -> S3Files:
    return S3Files(s3.new_root(), tmp_path / "scratch")


def remote(s3: ObjectStorage, tmp_path: Path, root: str | None = None) -> Store:
    return Store.open(root or s3.new_root(), tmp_path / "cache")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "words", "head"),
    [
        ("403 AccessDenied", REFUSED, REFUSED),
        ("403 InvalidAccessKeyId", REFUSED, REFUSED),
        ("403 SignatureDoesNotMatch", REFUSED, REFUSED),
        ("400 ExpiredToken", REFUSED, "have expired"),
        ("400 AuthorizationHeaderMalformed", REGION, REGION),
        ("404 NoSuchBucket", "there is no such bucket. Create it", None),
        ("503 SlowDown", BUSY, BUSY),
        ("500 InternalError", BUSY, BUSY),
        ("418 Teapot", "the storage failed", "the storage failed"),
    ],
)
def test_what_storage_refuses_is_said_with_the_file_and_the_remedy_and_no_secret(
    files: S3Files, s3: ObjectStorage, answer: str, words: str, head: str | None
) -> None:
    asked = {
        "read": (lambda: files.read("a/one"), words),
        "list": (lambda: files.names("a/one"), words),
        "create": (lambda: files.create("a/one", b"1"), words),
        **({"stat": (lambda: files.stat("a/one"), head)} if head else {}),
    }
    with s3.failing(always(answer)):
        for ask, expected in asked.values():
            with pytest.raises(StorageUnavailable, match=rf"{files.root}/a/one: .*{expected}") as raised:
                ask()
            told = "".join(traceback.format_exception(raised.value))
            assert KEY not in told
            assert SECRET not in told


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials. Set AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": "unknown"}, r"a profile that ~/\.aws does not have"),
        ({"AWS_ENDPOINT_URL": f"http://user:{SECRET}@127.0.0.1:1"}, "cannot be reached. Look at the network"),
        ({"AWS_ENDPOINT_URL": "elsewhere"}, "Correct AWS_ENDPOINT_URL"),
    ],
)
def test_what_is_wrong_with_the_environment_is_said_without_secrets(
    s3: ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    with pytest.raises(StorageUnavailable, match=words) as raised:
        remote(s3, tmp_path).sources()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("fault", ["503 SlowDown", "500 InternalError", "lost reply"])
def test_what_may_be_asked_again_is(files: S3Files, s3: ObjectStorage, fault: str) -> None:
    files.create("a/one", b"first")
    asked = {
        "GET": (lambda: files.read("a/one"), b"first"),
        "LIST": (lambda: files.names("a"), ["one"]),
        "HEAD": (lambda: files.stat("a/one"), files.stat("a/one")),
        "DELETE": (lambda: files.delete("a/one"), None),
    }
    for does, (ask, answer) in asked.items():
        with s3.failing(once(does, fault)), s3.counted() as counts:
            assert ask() == answer
        assert counts[does] == 2


def test_a_commit_whose_reply_is_lost_on_the_way_succeeds_once(files: S3Files, s3: ObjectStorage) -> None:
    versions = Versions(files, "manifests", "the thing")
    with s3.failing(once("PUT", "lost reply")), s3.counted() as counts:
        sealed = versions.create(1, {"said": "once"})
    assert counts["PUT"] == 2
    assert (versions.numbers(), versions.read(1)) == ([1], sealed)


def test_a_lost_reply_to_the_probe_is_no_second_writer(files: S3Files, s3: ObjectStorage) -> None:
    with s3.failing(once("PUT", "lost reply")):
        files.require_exclusive()
    assert files.names("") == []


def test_a_conflict_of_two_conditional_writes_is_asked_again(files: S3Files, s3: ObjectStorage) -> None:
    with s3.failing(once("PUT", "409 ConditionalRequestConflict")):
        files.create("one", b"first")
    with s3.failing(once("PUT", "409 ConditionalRequestConflict")), pytest.raises(FileExistsError):
        files.create("one", b"second")
    with s3.failing(once("PUT", "412 PreconditionFailed")), pytest.raises(FileExistsError):
        files.create("two", b"first")  # as storage answers that does not name the condition
    assert files.read("one") == b"first"


@pytest.mark.parametrize("fault", ["no condition", "501 NotImplemented"])
def test_a_bucket_without_conditional_writes_is_refused_for_writing_and_read(
    s3: ObjectStorage, tmp_path: Path, fault: str
) -> None:
    store = remote(s3, tmp_path)
    manifest = commit(chain_of(store), "art:a")
    with s3.failing(always(fault, "PUT")):
        again = remote(s3, tmp_path, store.root)
        with pytest.raises(NotExclusive, match="Use a local disk, or an object store"):
            writer_of(chain_of(again))
        with pytest.raises(NotExclusive):
            again.ledger("art").commit(None, {}, run_id="run")
        assert said(chain_of(again), chain_of(again).latest()) == said(chain_of(store), manifest)
    assert [name for name in store.files.names("") if "probe" in name] == []


def test_what_others_commit_is_seen_at_once(s3: ObjectStorage, tmp_path: Path) -> None:
    """s3fs would remember the listings."""
    reader, writer = (Store.open("s3://pile/seen-at-once", tmp_path / name) for name in ("reader", "writer"))
    for number in range(3):
        assert (reader.files.stat("a/b/1"), reader.files.names("a/b"), reader.files.folders("a")) == (None, [], [])
        writer.files.create("a/b/1", str(number).encode())
        assert (reader.files.names("a/b"), reader.files.folders("a")) == (["1"], ["b"])
        assert reader.files.read("a/b/1") == str(number).encode()
        before = reader.files.stat("a/b/1")
        with writer.files.writing("a/b/1") as handle:
            handle.write(b"x")
        assert reader.files.stat("a/b/1") != before
        assert reader.files.newest("a", "b", re.compile(".*")) == {}
        writer.files.delete("a/b/1")


@pytest.mark.parametrize(
    ("page", "files_"), [(10, 35), pytest.param(1000, 2100, marks=pytest.mark.torture)], ids=["small", "full"]
)
def test_listings_of_many_pages_are_read_to_their_end(
    files: S3Files, s3: ObjectStorage, monkeypatch: pytest.MonkeyPatch, page: int, files_: int
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(page))
    for number in range(files_):
        files.create(f"a/{number:04}/m/1", b"")
        files.create(f"b/{number:04}", b"")
    names = [f"{number:04}" for number in range(files_)]
    assert files.names("b") == names
    assert files.folders("a") == names
    assert list(files.newest("a", "m", re.compile("1"))) == names
    files.delete_folder("a")
    assert (files.folders("a"), files.names("b")) == ([], names)


def test_a_folder_is_no_other_whose_name_begins_like_it(files: S3Files) -> None:
    for path in ("a/b/1", "a/bc/2", "a/b", "ab/3"):
        files.create(path, b"1")
    assert (files.names("a"), files.folders("a")) == (["b"], ["b", "bc"])
    assert (files.names("a/b"), files.names("a/bc")) == (["1"], ["2"])
    files.delete_folder("a/b")
    assert (files.names("a"), files.folders("a"), files.names("ab")) == (["b"], ["bc"], ["3"])


@pytest.mark.parametrize(
    "root", ["s3://whole-bucket", "s3://whole-bucket/", "s3://whole-bucket/deep/er/", "s3a://whole-bucket"]
)
def test_a_bucket_and_any_prefix_of_one_is_a_root(s3: ObjectStorage, tmp_path: Path, root: str) -> None:
    import s3fs

    client = s3fs.S3FileSystem(use_listings_cache=False)
    client.call_s3("create_bucket", Bucket="whole-bucket")
    store = remote(s3, tmp_path, root)
    manifest = commit(chain_of(store), "art:a", "art:b")
    assert chain_of(store).latest() == manifest
    assert store.datasets() == ["embeddings/tiny/0123456789ab"]
    assert store.verify() == []
    store.files.delete_folder("embeddings")
    assert client.find("whole-bucket") == []


def test_what_a_bucket_does_not_delete_is_told(files: S3Files, s3: ObjectStorage) -> None:
    files.create("a/1", b"1")
    with (
        s3.failing(always(DENIED, "DELETE many")),
        pytest.raises(
            StorageUnavailable, match=r"1 of 1 files could not be deleted, the first of them store/a/1 \(Acc"
        ),
    ):
        files.delete_folder("a")


@pytest.mark.torture
def test_a_file_in_many_pieces_is_whole_or_not_there(files: S3Files, s3: ObjectStorage) -> None:
    piece = bytes(range(256)) * 2**12  # a megabyte

    def write(name: str) -> None:
        with files.writing(name) as handle:
            for _ in range(104):
                handle.write(piece)

    with s3.counted() as counts:
        write("large")
    assert counts["UPLOAD"] >= 4
    with files.open("large") as handle:
        handle.seek(50 * 2**20 - 3)
        assert handle.read(6) == piece[-3:] + piece[:3]
    with s3.failing(once("UPLOAD", "403 AccessDenied")), pytest.raises(StorageUnavailable):
        write("second")
    assert files.names("") == ["large"]


def test_a_large_file_is_read_in_blocks_and_a_small_one_at_once(files: S3Files, s3: ObjectStorage) -> None:
    for name, megabytes in (("small", 3), ("large", 17)):
        with files.writing(name) as handle:
            for number in range(megabytes):
                handle.write(bytes([number]) * 2**20)
    with s3.counted() as counts, files.open("small") as handle:
        handle.seek(-1, 2)
        assert handle.read() == b"\2"
        handle.seek(0)
        assert handle.read(3) == b"\0\0\0"
    assert counts == {"HEAD": 1, "GET": 1}
    with s3.counted() as counts, files.open("large") as handle:
        handle.seek(9 * 2**20 - 1)
        assert handle.read(2) == b"\x08\x09"
    assert counts == {"HEAD": 1, "GET": 1}


def test_a_commit_asks_for_no_more_than_it_needs(s3: ObjectStorage, tmp_path: Path) -> None:
    store = remote(s3, tmp_path)
    with s3.counted() as counts:
        commit(chain_of(store), "art:a")
    assert counts == {"LIST": 2, "PUT": 2 + 2, "HEAD": 1, "GET": 1, "DELETE": 1}  # a part, a manifest, and the probe
    with s3.counted() as counts:
        commit(chain_of(store), "art:b")
    assert counts == {
        "LIST": 2,
        "PUT": 2,
        "HEAD": 2 + 1,
        "GET": 1 + 2,
    }  # the part: keys and content


def test_a_local_copy_is_fetched_once_and_hashed_on_the_way(s3: ObjectStorage, tmp_path: Path) -> None:
    store = remote(s3, tmp_path)
    manifest = commit(chain_of(store), "art:a")
    (path,), sha256 = chain_of(store).files(manifest), manifest.parts[0].sha256
    with s3.counted() as counts:
        for _ in range(3):
            assert local_file(store, path, sha256).read_bytes() == store.files.read(path)
    assert counts == {"HEAD": 1, "GET": 1 + 3}


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("s3://key:hidden@pile/x", "without a user, a password"),
        ("s3://pile/x?aws_secret=hidden", "credentials come from the environment"),
        ("simplecache::s3://pile/hidden", "scheme://bucket/prefix"),
        ("s3://pile//x", "one '/' between names"),
        ("s3://", "one '/' between names"),
        ("gs://pile/x", "pip install gcsfs"),
        ("az://pile/x", "pip install adlfs"),
        ("nowhere://pile/x", "fsspec knows no storage of that kind"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_no_secret_repeated(
    tmp_path: Path, root: str, words: str
) -> None:
    with pytest.raises(StoreError, match=words) as raised:
        Store.open(root, tmp_path)
    assert "hidden" not in "".join(traceback.format_exception(raised.value, limit=0))


@pytest.mark.parametrize("root", ["s3://key:hidden@pile/x", "s3://pile/x?aws_secret=hidden"])
def test_settings_with_credentials_are_refused_without_repeating_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    file = tmp_path / "embeddings.yaml"
    file.write_text(f"data: {root}\n")
    with pytest.raises(SettingsError, match=r"embeddings\.yaml:1: data: .*without a user, a password") as raised:
        load_settings(file)
    assert "hidden" not in "".join(traceback.format_exception(raised.value))
    file.write_text("sources: {}\n")
    monkeypatch.setenv("EMBEDDINGS_DATA", root)
    with pytest.raises(SettingsError, match=r"EMBEDDINGS_DATA: data: .*without a user") as raised:
        load_settings(file)
    assert "hidden" not in str(raised.value)


def test_without_s3fs_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.modules['s3fs'] = None\n"
        "from embeddings_dagster.store import Store\n"
        "Store.open('s3://bucket', pathlib.Path())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "pip install 'embeddings-dagster[s3]'" in done.stderr


def test_what_is_out_of_reach_is_not_called_damaged(s3: ObjectStorage, tmp_path: Path) -> None:
    """Else a repair would make anew what is merely not to be had."""
    store = remote(s3, tmp_path)
    commit(chain_of(store), "art:a")
    with s3.failing(always("403 AccessDenied", "GET")), pytest.raises(StorageUnavailable, match="were refused"):
        store.verify()
    assert store.verify() == []

import os
from pathlib import Path

import pytest

from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.comics.listing import Specs, list_specs


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    return folder


def write(base: Path, *names: str) -> None:
    for name in names:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def listed(base: Path, *lines: str, encoding: str = "utf-8") -> Specs:
    (base / "list.txt").write_bytes("\r\n".join(lines).encode(encoding))
    return list_specs(base / "list.txt", source="comics", setting="sources.comics.path")


def paths(specs: Specs) -> list[str]:
    return [each.path for each in specs.files]


def test_a_list_names_specs_with_either_slash_in_its_order(base: Path) -> None:
    write(base, "Foo/p2.json", "Foo/p1.json", "Bar/#1 100%.json", "Bar/ spaces .json")
    specs = listed(base, "Foo\\p2.json", "", "./Foo/p1.json", "Bar/#1 100%.json", '"Bar\\ spaces .json"', "   ")
    assert paths(specs) == ["Foo/p2.json", "Foo/p1.json", "Bar/#1 100%.json", "Bar/ spaces .json"]
    assert all(each.size == 2 for each in specs.files)
    assert not specs.ignored


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16"])
def test_lists_are_read_in_every_encoding_seen(base: Path, encoding: str) -> None:
    write(base, "Été/p1.json")
    assert [each.size for each in listed(base, "Été\\p1.json", encoding=encoding).files] == [2]


def test_absolute_paths_are_found_by_their_longest_tail(base: Path) -> None:
    write(base, "Foo/p1.json", "deep/Foo/p1.json", "Bar/p1.json")
    specs = listed(
        base,
        "E:\\old\\specs\\Foo\\p1.json",
        "\\\\nas\\x\\deep\\foo\\P1.JSON",
        f"{base}/Bar/p1.json",
        "specs\\Foo\\p1.json",
    )
    assert paths(specs) == ["Bar/p1.json", "Foo/p1.json", "deep/Foo/p1.json"]
    assert specs.ignored == {"listed again": 1}


def test_two_specs_never_share_a_name(base: Path) -> None:
    """Theirs: lossy ids collided."""
    write(base, "a_b/p1.json", "a/b_p1.json", "a b/p1.json", "A/b_p1.json", "a/b/p1.json", "a\\b\\p1.json")
    folder = list_specs(base, source="comics", setting="path")
    assert len(set(paths(folder))) == len(folder.files) == 6
    lines = ["a_b/p1.json", "a/b_p1.json", "a b/p1.json", "A/b_p1.json", "a\\b\\p1.json", "E:\\gone\\p1.json"]
    specs = listed(base, *lines)
    assert len(set(paths(specs))) == len(specs.files) == 6
    assert not specs.ignored


def test_a_spec_listed_twice_is_one_and_counted(base: Path) -> None:
    write(base, "Foo/p1.json")
    specs = listed(
        base, "Foo/p1.json", "Foo\\p1.json", "./Foo/../Foo/p1.json", "E:\\x\\Foo\\p1.json", "E:\\no.json", "e:/no.json"
    )
    assert [(each.path, each.size) for each in specs.files] == [("Foo/p1.json", 2), ("no.json", None)]
    assert specs.ignored == {"listed again": 4}


def test_a_spec_that_is_not_there_is_listed_under_its_own_path(base: Path) -> None:
    write(base, "Bar/p1.json")
    specs = listed(base, "Bar/p1.json", "E:\\lib\\Foo\\p1.json", "Foo/p2.json", "../outside.json", "Bar")
    assert [(each.path, each.size) for each in specs.files] == [
        ("Bar/p1.json", 2), ("lib/Foo/p1.json", None), ("Foo/p2.json", None), ("outside.json", None), ("Bar", None),
    ]  # fmt: skip


def test_nothing_outside_of_the_folder_of_the_list_is_taken(base: Path) -> None:
    write(base.parent, "outside.json", "elsewhere/p1.json")
    (base / "link.json").symlink_to(base.parent / "outside.json")
    (base / "folder").symlink_to(base.parent / "elsewhere")
    write(base, "p0.json")
    specs = listed(base, "p0.json", "../outside.json", f"{base.parent}/outside.json", "link.json", "folder/p1.json")
    assert {each.path for each in specs.files if each.size is not None} == {"p0.json"}


def test_a_folder_is_every_json_below_it(base: Path) -> None:
    write(base, "a/p1.json", "a/b/p2.JSON", "p3.json", "p1.jpg", ".hidden.json", ".git/p.json", "__MACOSX/a/p1.json")
    (base / "link.json").symlink_to(base / "p3.json")
    (base / "loop").symlink_to(base)
    specs = list_specs(base, source="comics", setting="path")
    assert sorted(paths(specs)) == ["a/b/p2.JSON", "a/p1.json", "p3.json"]
    assert specs.ignored == {"hidden": 3, "symbolic link": 2, "not a page spec by its extension": 1}


def test_a_list_none_of_whose_specs_is_there_is_an_error(base: Path) -> None:
    """As that of a disk which is not mounted."""
    with pytest.raises(
        SourceError,
        match=r"the list '.*list\.txt' names 2 page specs, such as lib/p1\.json, and none of them is below '.*specs'; "
        r"mount or copy them there, or correct sources\.comics\.path\. Nothing was removed",
    ):
        listed(base, "E:\\lib\\p1.json", "E:\\lib\\p2.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            None,
            r"the list '.*gone\.txt' cannot be read \(No such file or directory\); .* correct sources\.comics\.path",
        ),
        ("", r"names no page spec; write it again, or, .*`embeddings forget comics`\. Nothing was removed"),
        ("\n  \n", "names no page spec"),
    ],
)
def test_a_list_that_is_missing_or_empty_is_no_removal(base: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (base / "gone.txt").write_text(content)
    with pytest.raises(SourceError, match=reason):
        list_specs(base / "gone.txt", source="comics", setting="sources.comics.path")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_listed_is_no_removal(base: Path) -> None:
    write(base, "a/p1.json")
    (base / "a").chmod(0)
    try:
        with pytest.raises(SourceError, match=r"a cannot be listed \(Permission denied\)"):
            list_specs(base, source="comics", setting="path")
    finally:
        (base / "a").chmod(0o755)

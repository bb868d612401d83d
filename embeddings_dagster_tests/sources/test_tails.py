import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.sources.tails import Match, TailIndex, find_by_tail, is_absolute, parts_of

NAMES = st.sampled_from(["a", "b", "B", "é", "e\u0301", "p1.jpg", "p2.jpg", "x y", "#1"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("E:\\lib\\Foo\\p1.jpg", ("lib", "Foo", "p1.jpg")),
        ("\\\\server\\share\\Foo\\p1.jpg", ("server", "share", "Foo", "p1.jpg")),
        ("./a//b/./c", ("a", "b", "c")),
        ("a/../b", ("b",)),
        ("../../../etc/passwd", ("etc", "passwd")),
        ("C: The Comic/p1.jpg", ("C: The Comic", "p1.jpg")),
        ("E:\\", ()),
        ("/", ()),
    ],
)
def test_a_path_is_its_names_whoever_wrote_it(path: str, parts: tuple[str, ...]) -> None:
    assert parts_of(path) == parts


def test_absolute_paths_of_windows_are_known_here() -> None:
    assert [each for each in ("E:\\a", "E:/a", "\\\\s\\a", "/a", "a/b", "E:a", ".\\a") if is_absolute(each)] == [
        "E:\\a", "E:/a", "\\\\s\\a", "/a",
    ]  # fmt: skip


def find(files: list[str], path: str) -> Match:
    return TailIndex(files).find(parts_of(path))


def test_the_longest_tail_wins() -> None:
    files = ["p1.jpg", "Foo/p1.jpg", "lib/Foo/p1.jpg", "Bar/p1.jpg"]
    assert find(files, "E:\\lib\\Foo\\p1.jpg").path == "lib/Foo/p1.jpg"
    assert find(files, "E:\\all\\Bar\\p1.jpg").path == "Bar/p1.jpg"
    assert find(files, "E:\\all\\Baz\\p1.jpg").path == "p1.jpg"


def test_case_and_composition_of_accents_do_not_matter_unless_they_decide() -> None:
    assert find(["foo/É1.jpg"], "E:\\Foo\\e\u03011.JPG").path == "foo/É1.jpg"
    assert find(["foo/p1.jpg", "Foo/p1.jpg"], "E:\\Foo\\p1.jpg").path == "Foo/p1.jpg"
    neither = find(["foo/p1.jpg", "Foo/p1.jpg"], "E:\\FOO\\p1.jpg")
    assert (neither.path, neither.candidates) == ("", ("Foo/p1.jpg", "foo/p1.jpg"))


def test_what_could_be_two_files_is_none_and_they_are_named() -> None:
    match = find(["a/Foo/p1.jpg", "b/Foo/p1.jpg"], "Foo/p1.jpg")
    assert (match.path, match.candidates, match.others) == ("", ("a/Foo/p1.jpg", "b/Foo/p1.jpg"), 2)


def test_the_path_below_the_root_goes_before_one_that_only_ends_so() -> None:
    assert find(["Foo/p1.jpg", "old/Foo/p1.jpg"], "E:\\lib\\Foo\\p1.jpg").path == "Foo/p1.jpg"


def test_a_name_alone_is_no_match_in_the_folder_of_another_book() -> None:
    match = find(["Bar/p1.jpg"], "E:\\lib\\Foo\\p1.jpg")
    assert (match.path, match.candidates) == ("", ("Bar/p1.jpg",))
    assert find(["Bar/p1.jpg"], "p1.jpg").path == "Bar/p1.jpg", "unless nothing else was said"


def test_a_file_found_in_part_must_be_asked_for_by_one_path_alone() -> None:
    def found(*asked: str) -> dict[str, str]:
        index = TailIndex(["Naruto/Chapter 1/01.jpg", "cover.jpg"])
        return {parts[-3]: match.path for parts, match in index.find_all(map(parts_of, asked)).items()}

    one, other, true = (f"E:\\manga\\{name}\\Chapter 1\\01.jpg" for name in ("One Piece", "Bleach", "Naruto"))
    assert found(one) == {"One Piece": "Naruto/Chapter 1/01.jpg"}
    assert found(one, other) == {"One Piece": "", "Bleach": ""}
    assert found(one, true) == {"One Piece": "", "Naruto": "Naruto/Chapter 1/01.jpg"}
    assert found("E:\\a\\b\\cover.jpg", "E:\\x\\y\\cover.jpg") == {"a": "", "x": ""}
    assert found("E:\\a\\b\\cover.jpg") == {"a": "cover.jpg"}


@given(st.sets(PATHS, max_size=12), PATHS)
def test_the_index_agrees_with_looking_at_every_file(files: set[str], asked: str) -> None:
    match = TailIndex(files).find(parts_of(asked))

    def fold(path: str) -> list[str]:
        return [name.replace("e\u0301", "é").lower() for name in reversed(path.split("/"))]

    def shared(path: str) -> int:
        count = 0
        for one, other in zip(fold(path), fold(asked), strict=False):
            if one != other:
                break
            count += 1
        return count

    longest = max(map(shared, files), default=0)
    best = {path for path in files if shared(path) == longest} if longest else set()
    if match.path:
        assert match.path in best
        assert match.shared == longest
    else:
        assert set(match.candidates) <= best
        assert bool(match.candidates) == bool(best)


IDS = [
    f"comics:{each}"
    for each in (
        "Foo/p001.json",
        "Foo/p002.json",
        "foo/P003.json",
        "Bar/p001.json",
        "Bar/p002.jpg.json",
        "deep/Bar/p009.json",
        "p009.json",
        "Foo %231/p 1.json",
        "Été/p1.json",
    )
]
IDS += ["other:Foo/p002.json", "shop:7", "shop:7#1", "e:x/p010.json"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "image_id"),
    [
        ("Foo/p001.json", "comics:Foo/p001.json"),
        ("foo\\P001.JSON", "comics:Foo/p001.json"),
        ("comics:foo/P001", "comics:Foo/p001.json"),
        ("E:\\p002.jpg", "comics:Bar/p002.jpg.json"),
        ("p003", "comics:foo/P003.json"),
        ("p009.json", "comics:p009.json"),
        ("bar/p009", "comics:deep/Bar/p009.json"),
        ("Foo #1/p 1", "comics:Foo %231/p 1.json"),
        ("Foo %231/p 1.json", "comics:Foo %231/p 1.json"),
        ("e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}/P1", "comics:Été/p1.json"),
        ("other:p002", "other:Foo/p002.json"),
        ("7", "shop:7"),
        ("7#1", "shop:7#1"),
        ("p010", "e:x/p010.json"),
        ("e:p010", "e:x/p010.json"),
    ],
)
def test_an_image_is_found_by_a_unique_tail_whatever_its_case(text: str, image_id: str) -> None:
    assert find_by_tail(iter(IDS), text) == (image_id,)


def test_a_tail_of_several_images_names_them_and_one_of_none_nothing() -> None:
    assert find_by_tail(IDS, "p001") == ("comics:Bar/p001.json", "comics:Foo/p001.json")
    assert find_by_tail(IDS, "Foo/p002") == ("comics:Foo/p002.json", "other:Foo/p002.json")
    for text in ("01.json", "nothing", "", "x/Foo/p001.json", "shop:p001", "comics:"):
        assert find_by_tail(IDS, text) == ()

"""Settings: each mistake is one readable line with its place and its remedy."""

from pathlib import Path

import pytest

from embeddings_dagster.errors import SettingsError
from embeddings_dagster.settings import Settings, find_settings, load_settings

GOOD = """\
data: store
sources:
  photos:
    kind: folder
    path: pictures
models:
  clip:
    kind: clip
    model: bundled:clip
"""


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "embeddings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(folder, text))
    return str(caught.value).splitlines()


def test_paths_are_resolved_against_the_files_folder(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert settings.data_root == str(tmp_path / "store")
    assert settings.cache_root == tmp_path / "store" / "cache"
    assert settings.source_path("photos") == tmp_path / "pictures"


def test_a_models_folder_is_resolved_against_the_files_folder(tmp_path: Path) -> None:
    text = GOOD.replace("bundled:clip", "./models/mine")
    assert load_settings(write(tmp_path, text)).models["clip"].model == str(tmp_path / "models" / "mine")


def test_a_remote_store_keeps_its_cache_on_this_machine(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD.replace("data: store", "data: s3://bucket/store")))
    assert settings.data_root == "s3://bucket/store"
    assert settings.cache_root == tmp_path / "cache"


def test_every_mistake_is_one_line_in_the_files_order(tmp_path: Path) -> None:
    text = """\
batch_imags: 3
sources:
  photos:
    kind: folder
    pth: a
  Bad Name:
    kind: folder
    path: b
models:
  clip:
    kind: clip
    model: bundled:clip
    batch_size: zero
rgb:
  background: white
"""
    lines = mistakes(tmp_path, text)
    assert lines[0] == "embeddings.yaml:1: batch_imags: unknown key; did you mean 'batch_images'?"
    assert lines[1] == "embeddings.yaml:3: sources.photos.path: is needed; add it"
    assert lines[2] == "embeddings.yaml:5: sources.photos.pth: unknown key; did you mean 'path'?"
    assert lines[3].startswith("embeddings.yaml:6: sources.Bad Name: a source's name is made of")
    assert lines[4].startswith("embeddings.yaml:13: models.clip.batch_size: 'zero' is neither a number")
    assert lines[5].startswith("embeddings.yaml:15: rgb.background: string should match pattern")
    assert len(lines) == 6


def test_an_unknown_key_with_no_near_neighbour_lists_what_is_known(tmp_path: Path) -> None:
    assert mistakes(tmp_path, GOOD + "rgb:\n  zzz: 1\n") == [
        "embeddings.yaml:11: rgb.zzz: unknown key; known here: background, max_bytes, max_pixels, max_seconds, "
        "thumbnail_size"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data: [1\n", "embeddings.yaml:2: not valid YAML"),
        ("- a\n- b\n", "embeddings.yaml:1: expected `key: value` lines, found list"),
        ("data: a\ndata: b\n", "embeddings.yaml:2: data: given twice; keep one"),
        ("data: !!python/object:os.system x\n", "embeddings.yaml:1: not valid YAML: could not determine a constructor"),
        ("1: a\n", "embeddings.yaml:1: the keys at the top must be words"),
        ("\x00", "embeddings.yaml: not valid YAML"),
    ],
)
def test_what_is_not_a_settings_file(tmp_path: Path, text: str, line: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(line)


def test_a_file_that_is_not_there_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="embeddings init"):
        load_settings(tmp_path / "none.yaml")


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "# nothing yet\n"))
    assert list(settings.models) == ["clip", "dino"]
    assert settings.sources == {}
    assert settings.batch_images == 4096


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_DATA", "/elsewhere")
    monkeypatch.setenv("EMBEDDINGS_MODELS__CLIP__DEVICE", "cpu")
    settings = load_settings(write(tmp_path, GOOD))
    assert settings.data_root == "/elsewhere"
    assert settings.models["clip"].device == "cpu"
    assert settings.models["clip"].model == "bundled:clip"


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_RGB__MAX_PIXELS", "many")
    monkeypatch.setenv("EMBEDDINGS_DATUM", "x")
    lines = mistakes(tmp_path, GOOD)
    assert any(line.startswith("environment variable EMBEDDINGS_DATUM: sets nothing here") for line in lines)
    assert any(line.startswith("environment variable EMBEDDINGS_RGB__MAX_PIXELS: rgb.max_pixels:") for line in lines)


SOURCES = """\
sources:
  shop:
    kind: catalogue
    path: products.csv
  more:
    path: more.csv
  third:
    kind: catalog
    path: third.csv
    hidden: true
    download:
      concurency: 3
"""


def test_mistakes_in_a_source_are_told_by_its_kind(tmp_path: Path) -> None:
    assert mistakes(tmp_path, SOURCES) == [
        "embeddings.yaml:2: sources.shop: there is no kind 'catalogue'; did you mean 'catalog'?",
        "embeddings.yaml:5: sources.more: 'kind' is needed; add it, one of folder, scraped, catalog, comics",
        "embeddings.yaml:10: sources.third.hidden: unknown key; known here: columns, download, encoding, fields, "
        "format, groups, kind, path, prefix, repeated, text",
        "embeddings.yaml:12: sources.third.download.concurency: unknown key; did you mean 'concurrency'?",
    ]


@pytest.mark.parametrize(
    ("kind", "made", "missing"),
    [
        ("catalog", "file", "does not exist"),
        ("scraped", "folder", "does not exist"),
        ("comics", "file", "does not exist"),
        ("comics", "folder", "does not exist"),
        ("catalog", "folder", "is not a file"),
        ("scraped", "file", "is not a folder"),
    ],
)
def test_a_source_is_looked_for_as_what_its_kind_says(tmp_path: Path, kind: str, made: str, missing: str) -> None:
    settings = load_settings(write(tmp_path, f"sources:\n  one:\n    kind: {kind}\n    path: there\n"))
    there = tmp_path / "there"
    if missing == "does not exist":
        assert [missing in problem for problem in settings.check_folders()] == [True]
    there.write_text("") if made == "file" else there.mkdir()
    assert [missing in problem for problem in settings.check_folders()] == ([] if "not exist" in missing else [True])


def test_the_folder_of_page_images_is_looked_for_too(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("")
    text = "sources:\n  books:\n    kind: comics\n    path: list.txt\n    images: scans\n"
    settings = load_settings(write(tmp_path, text))
    assert settings.check_folders() == [
        f"embeddings.yaml:5: sources.books.images: {str(tmp_path / 'scans')!r} does not exist; create it, mount it, or "
        "correct the path"
    ]


def test_missing_folders_are_named_with_their_line(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert settings.check_folders() == [
        f"embeddings.yaml:5: sources.photos.path: {str(tmp_path / 'pictures')!r} does not exist; "
        "create it, mount it, or correct the path"
    ]
    assert settings.place("sources", "photos", "path") == "sources.photos.path (embeddings.yaml:5)"
    (tmp_path / "pictures").write_text("a file")
    assert "is not a folder" in settings.check_folders()[0]
    (tmp_path / "pictures").unlink()
    (tmp_path / "pictures").mkdir()
    assert settings.check_folders() == []


def test_the_file_is_found_in_the_folder_or_above_and_the_variable_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, GOOD)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_settings(deep) == path
    monkeypatch.setenv("EMBEDDINGS_SETTINGS", str(tmp_path / "other.yaml"))
    assert find_settings(deep) == tmp_path / "other.yaml"


@pytest.mark.parametrize("name", ["Clip", "clip-2", "a__b", "1clip", "clip embeddings"])
def test_a_models_name_must_do_as_an_assets_name(tmp_path: Path, name: str) -> None:
    text = f"models:\n  {name}:\n    kind: clip\n    model: bundled:clip\n"
    assert "becomes the name of assets" in mistakes(tmp_path, text)[0]


def test_settings_do_not_change_once_read(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    with pytest.raises(ValueError, match="frozen"):
        settings.data = "x"  # type: ignore[misc]
    assert isinstance(settings, Settings)


NETWORK = "network: {architecture: 'own:Net', dimension: 8}"


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("kind: clip, precision: int7", "models.own.precision: input should be 'fp32', 'bf16'"),
        (f"kind: clip, {NETWORK}", "`network` belongs to kind custom, and not to clip; remove it"),
        ("kind: custom", "kind custom needs `network`, with its architecture and dimension; add it"),
        (f"kind: custom, precision: int8, {NETWORK}", "set backend to torch, and precision to fp32, bf16 or fp16"),
        ("kind: custom, network: {architecture: net, dimension: 8}", "package.module:Name, or ./file.py:Name"),
        ("kind: clip, precision: int8, device: cuda", "set device to auto or cpu"),
        ("kind: clip, parity: 2", "models.own.parity: input should be less than or equal to 1, found 2"),
        ("kind: clip, batch_size: 0", "0 is neither a number from 1 to 4096 nor auto"),
        ("kind: clip, side: text", "unknown key 'side'; remove it"),
        ("kind: clip, calibrated: abc", "unknown key 'calibrated'; remove it"),
    ],
)
def test_what_is_wrong_with_a_model_is_one_line_with_the_remedy(tmp_path: Path, model: str, remedy: str) -> None:
    [line] = mistakes(tmp_path, f"models:\n  own: {{model: weights, {model}}}\n")
    assert line.startswith("embeddings.yaml:2: models.own")
    assert remedy in line

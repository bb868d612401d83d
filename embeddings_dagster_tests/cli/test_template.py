"""The settings file that `init` writes: it parses, each key is in it, and a line uncommented still says the default."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from embeddings_dagster.cli.template import render, scalar, source_name
from embeddings_dagster.settings import Settings, load_settings
from embeddings_dagster.settings_models import ModelSettings, NetworkSettings
from embeddings_dagster.settings_sources import CatalogSource, ComicsSource, GroupSettings, ScrapedSource

KEY_LINE = re.compile(r"^(\s*)# (\s*[a-z_]+:(?: |$))", flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [each for each in os.environ if each.startswith("EMBEDDINGS_")]:
        monkeypatch.delenv(name)


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a section and of those inside it."""
    for name, field in model.model_fields.items():
        yield name
        for inner in sections(field.annotation):
            yield from keys(inner)


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for each in get_args(annotation):
            yield from sections(each)


def write(folder: Path, text: str) -> Path:
    file = folder / "embeddings.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_written_default_parses(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, render({"art": "pictures/art"})))
    assert settings.source_path("art") == tmp_path / "pictures" / "art"
    assert settings.models == Settings().models


def test_every_key_of_the_settings_is_in_it() -> None:
    text = render({"art": "art"})
    ours = {"side", "calibrated"}  # are told by the project, not by its settings
    missing = [
        key for key in set(keys(Settings)) - ours if not re.search(rf"^\s*(# )?\s*{key}:", text, flags=re.MULTILINE)
    ]
    assert missing == []


def test_a_line_uncommented_says_the_default(tmp_path: Path) -> None:
    commented, count = KEY_LINE.subn(r"\1\2", render({"art": "art"}))
    assert count > 20
    told = load_settings(write(tmp_path, commented)).model_dump(exclude={"cache"})
    others = {name: told["sources"].pop(name) for name in ("shop", "fashion", "comics")}
    assert others["shop"]["groups"] == GroupSettings(field="category").model_dump()
    others["shop"]["groups"] = None  # an example, and no default
    for name, kind in {"shop": CatalogSource, "fashion": ScrapedSource, "comics": ComicsSource}.items():
        assert others[name] == kind(kind=others[name]["kind"], path=others[name]["path"]).model_dump()
    default = load_settings(write(tmp_path, render({"art": "art"}))).model_dump(exclude={"cache"})
    default["models"]["clip"]["revision"] = "main"
    default["dagster"]["gpu_pool_limit"] = 1
    pages = told["models"].pop("pages")
    network = NetworkSettings(architecture="page_encoder:PageEncoder", dimension=384)
    assert pages == ModelSettings(kind="custom", model=pages["model"], network=network).model_dump()
    assert told == default


@pytest.mark.parametrize("path", ["no", "2024", "a: b", "*x", "é/ü", "C:\\x", "- x", "# y", "'", "a b"])
def test_any_folder_name_survives_the_file(tmp_path: Path, path: str) -> None:
    assert load_settings(write(tmp_path, render({"art": path}))).source_path("art") == tmp_path / path


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Art Work", "art-work"), ("2024", "2024"), ("日本", "pictures"), ("_x_", "x"), ("art", "art-2")],
)
def test_a_source_is_named_after_its_folder(folder: str, name: str) -> None:
    assert source_name(Path("/somewhere") / folder, {"art"}) == name


def test_a_bare_value_is_quoted_only_where_needed() -> None:
    assert [scalar("pictures"), scalar("no")] == ["pictures", "'no'"]

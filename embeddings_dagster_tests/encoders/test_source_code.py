import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings_dagster.encoders.import_path import code_digests
from embeddings_dagster.encoders.source_code import find_file, parse, source_digest
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings_models import NetworkSettings


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def digest(path: str) -> str:
    return source_digest(parse(path))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of which importing any part would fail."""
    folder = tmp_path / "ownpackage_of_tests"
    written(folder / "__init__.py", "raise SystemExit('was run')\n")
    written(folder / "nets/__init__.py", "raise SystemExit('was run')\n")
    written(
        folder / "nets/encoder.py", "from .layers import Block\nfrom .. import sizes\nraise SystemExit('was run')\n"
    )
    written(folder / "nets/layers.py", "import numpy\ndef late():\n    import ownpackage_of_tests.deep.inner\n")
    written(folder / "deep/inner.py", "x = 1\n")
    written(folder / "sizes.py", "from .nets import encoder\n")
    written(folder / "other.py", "x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    assert "ownpackage_of_tests" not in sys.modules


ENCODER = "ownpackage_of_tests.nets.encoder:PageEncoder"


@pytest.mark.parametrize(
    ("place", "name"),
    [("a.b", "C"), ("a", "C.D"), ("/x/file.py", "C"), (r"C:\x\file.py", "C")],
)
def test_an_import_path_is_a_place_and_a_name(place: str, name: str) -> None:
    path = parse(f"{place}:{name}")
    assert (path.place, path.name) == (place, name)
    assert (path.file is not None) == place.endswith(".py")
    NetworkSettings(architecture=f"{place}:{name}", dimension=1)


@pytest.mark.parametrize("changed", ["nets/encoder.py", "nets/layers.py", "deep/inner.py", "sizes.py", "__init__.py"])
def test_what_a_module_imports_of_its_own_package_decides_and_nothing_is_run(package: Path, changed: str) -> None:
    before = digest(ENCODER)
    assert digest(ENCODER) == before
    (package / changed).write_text("x = 2\n")
    assert digest(ENCODER) != before


def test_the_rest_of_the_package_does_not(package: Path) -> None:
    before = digest(ENCODER)
    (package / "other.py").write_text("x = 2\n")
    (package / "new.py").write_text("x = 2\n")
    assert digest(ENCODER) == before


def test_neighbours_of_a_file_decide_where_it_imports_them(tmp_path: Path) -> None:
    file = written(tmp_path / "encoder.py", "from .helper import a\nfrom . import more\nimport alone\nimport torch\n")
    for name in ("helper", "more", "alone"):
        written(tmp_path / f"{name}.py", "x = 1\n")
    before = digest(f"{file}:A")
    written(tmp_path / "alone.py", "x = 2\n")
    assert digest(f"{file}:A") == before
    for name in ("helper", "more"):
        written(tmp_path / f"{name}.py", "x = 2\n")
        after = digest(f"{file}:A")
        assert after != before
        before = after


def test_neither_the_folder_nor_the_name_of_the_file_decides(tmp_path: Path) -> None:
    one = written(tmp_path / "a/encoder.py", "from .helper import a\n")
    two = written(tmp_path / "b/c/page.py", "from .helper import a\n")
    for path in (one, two):
        written(path.parent / "helper.py", "a = 1\n")
    assert digest(f"{one}:A") == digest(f"{two}:A")


def test_of_an_installed_package_its_own_file_is_taken() -> None:
    assert find_file(parse("torch.nn.modules.linear:Linear")).name == "linear.py"
    assert len(digest("torch.nn.modules.linear:Linear")) == 64


def test_a_file_that_is_no_python_has_a_digest_too(tmp_path: Path) -> None:
    assert digest(f"{written(tmp_path / 'a.py', 'def (')}:A") != digest(f"{written(tmp_path / 'b.py', 'def ((')}:A")


@pytest.mark.parametrize("place", ["no_such_package", "no_such_package.deep.er", "json.nothing", "json.decoder.more"])
def test_a_module_that_is_not_there_is_named(place: str) -> None:
    with pytest.raises(ModelError, match=rf"{place}:A' names no module: .* install its package, or name the file"):
        digest(f"{place}:A")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"names no file: there is no '.*gone\.py'; correct the path"):
        digest(f"{tmp_path / 'gone.py'}:A")


def test_the_preprocessing_counts_where_there_is_one(tmp_path: Path) -> None:
    file = written(tmp_path / "own.py", "x = 1\n")
    alone = NetworkSettings(architecture=f"{file}:A", dimension=1)
    assert list(code_digests(alone)) == ["architecture"]
    both = alone.model_copy(update={"preprocess": f"{file}:fit"})
    assert code_digests(both) == dict.fromkeys(("architecture", "preprocess"), digest(f"{file}:A"))


def test_a_package_that_is_split_over_folders_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "splitpackage_of_tests/deep/er/encoder.py", "x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_file(parse("splitpackage_of_tests.deep.er.encoder:A")) == file


def test_nothing_of_it_loads_torch(tmp_path: Path) -> None:
    file = written(tmp_path / "encoder.py", "import torch\n")
    program = (
        "import sys; from embeddings_dagster.encoders.import_path import code_digests;"
        "from embeddings_dagster.settings_models import NetworkSettings;"
        f"code_digests(NetworkSettings(architecture={f'{file}:A'!r}, dimension=1)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

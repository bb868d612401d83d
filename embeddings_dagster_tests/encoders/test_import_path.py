import sys
from pathlib import Path

import pytest

from embeddings_dagster.encoders.import_path import load_object
from embeddings_dagster.errors import ModelError


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_object_of_an_installed_module_is_loaded() -> None:
    import json

    assert load_object("json.decoder:JSONDecoder.decode") is json.JSONDecoder.decode


def test_a_file_is_loaded_under_a_name_of_its_own_and_once(tmp_path: Path) -> None:
    file = written(tmp_path / "json.py", "class Net:\n    pass\n")
    before = list(sys.path)
    net = load_object(f"{file}:Net")
    assert load_object(f"{file}:Net") is net
    assert sys.path == before
    assert net.__module__.startswith("_embeddings_own_")
    assert sys.modules["json"].__file__ != str(file)
    assert not (tmp_path / "__pycache__").exists()


def test_a_file_takes_its_neighbours_relatively(tmp_path: Path) -> None:
    file = written(tmp_path / "encoder.py", "from .helper import NUMBER\nfrom .sub.deep import OTHER\n")
    written(tmp_path / "helper.py", "NUMBER = 7\n")
    written(tmp_path / "sub/deep.py", "from ..helper import NUMBER\nOTHER = NUMBER + 1\n")
    assert load_object(f"{file}:NUMBER") == 7
    assert load_object(f"{file}:OTHER") == 8


@pytest.mark.parametrize("changed", ["encoder", "helper"])
def test_a_file_that_changed_is_loaded_anew(tmp_path: Path, changed: str) -> None:
    file = written(tmp_path / "encoder.py", "from .helper import NUMBER\nTEN = 10\n")
    written(tmp_path / "helper.py", "NUMBER = 7\n")
    assert load_object(f"{file}:NUMBER") + load_object(f"{file}:TEN") == 17
    text = (tmp_path / f"{changed}.py").read_text().replace("NUMBER = 7", "NUMBER = 70").replace("= 10", "= 73")
    written(tmp_path / f"{changed}.py", text)
    assert load_object(f"{file}:NUMBER") + load_object(f"{file}:TEN") == 80


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    files = [written(tmp_path / name / "encoder.py", f"NAME = {name!r}\n") for name in ("one", "two")]
    assert [load_object(f"{file}:NAME") for file in files] == ["one", "two"]


def test_an_attribute_that_is_not_there_is_named_with_what_is(tmp_path: Path) -> None:
    file = written(tmp_path / "encoder.py", "class PageEncoder:\n    pass\n")
    with pytest.raises(ModelError, match=r"encoder.py:PageNet': there is no 'PageNet' in it; it has PageEncoder"):
        load_object(f"{file}:PageNet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ny = x / 0\n", r"ZeroDivisionError: division by zero, encoder.py line 2"),
        ("import json\njson.loads('{')\n", r"JSONDecodeError: .*, encoder.py line 2"),
        ("x = 1\n\ndef f(:\n", r"SyntaxError: .*, encoder.py line 3"),
        ("raise SystemExit(3)\n", r"SystemExit: 3, encoder.py line 1"),
        ("import no_such_thing_here\n", r"No module named 'no_such_thing_here', encoder.py line 1\); install the"),
        (
            "x = 1\nimport helper_here\n",
            r"line 2\); a file named by its path takes its neighbours as `from .helper_here",
        ),
    ],
)
def test_what_fails_in_the_file_is_told_with_its_line_and_leaves_nothing(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path / "encoder.py", text)
    written(tmp_path / "helper_here.py", "x = 1\n")
    before = set(sys.modules)
    with pytest.raises(ModelError, match=r"encoder.py:Net' cannot be imported \(.*" + said):
        load_object(f"{file}:Net")
    assert not [name for name in set(sys.modules) - before if name.startswith("_embeddings_own_")]


def test_what_fails_in_a_neighbour_is_told_with_its_line(tmp_path: Path) -> None:
    file = written(tmp_path / "encoder.py", "from .helper import x\n")
    written(tmp_path / "helper.py", "\n\nraise ValueError('no size')\n")
    with pytest.raises(ModelError, match=r"ValueError: no size, helper.py line 3"):
        load_object(f"{file}:x")


def test_a_module_that_fails_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "failing_module_of_tests.py", "x = 1\nassert x == 2, 'x is not two'\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"AssertionError: x is not two, failing_module_of_tests.py line 2"):
        load_object("failing_module_of_tests:x")


def test_a_module_whose_source_changed_is_not_taken_for_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "changing_module_of_tests.py", "x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_object("changing_module_of_tests:x") == 1
    file.write_text("x = 2  # other\n")
    with pytest.raises(ModelError, match=r"'changing_module_of_tests' changed since .* restart the process"):
        load_object("changing_module_of_tests:x")

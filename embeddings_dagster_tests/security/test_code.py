"""What the package's code may not do, whoever writes the next module."""

import ast
import re

import pytest

from embeddings_dagster_tests.security.registry import PACKAGE

ROOT = PACKAGE.parent
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))}
CALLS = [(name, node) for name, tree in MODULES.items() for node in ast.walk(tree) if isinstance(node, ast.Call)]


def named(*functions: str) -> list[str]:
    return [f"{name}:{node.lineno}" for name, node in CALLS if ast.unparse(node.func) in functions]


def imported() -> set[tuple[str, str]]:
    found = set()
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {(alias.name.partition(".")[0], name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add((node.module.partition(".")[0], name))
    return found


def keyword(node: ast.Call, name: str) -> str | None:
    return next((ast.unparse(each.value) for each in node.keywords if each.arg == name), None)


def test_no_code_is_made_of_text() -> None:
    assert named("eval", "exec", "compile", "__import__") == []


def test_no_pickle_is_read_or_written() -> None:
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    found = {(module, name) for module, name in imported() if module in banned}
    assert found == {("pickle", "encoders/checkpoint.py")}, "which names pickle's error, and calls nothing of it"
    assert [node for name, node in CALLS if ast.unparse(node.func).startswith("pickle.")] == []


def test_numpy_reads_no_objects() -> None:
    loads = [(name, node) for name, node in CALLS if ast.unparse(node.func) in ("np.load", "numpy.load")]
    assert loads
    assert [name for name, node in loads if keyword(node, "allow_pickle") != "False"] == []


def test_torch_reads_weights_only_and_transformers_run_no_code_of_a_model() -> None:
    loads = [(name, node) for name, node in CALLS if ast.unparse(node.func).endswith("torch.load")]
    assert [keyword(node, "weights_only") for _, node in loads] == ["True"]
    pretrained = [(name, node) for name, node in CALLS if ast.unparse(node.func).endswith(".from_pretrained")]
    assert len(pretrained) >= 4
    assert [name for name, node in pretrained if keyword(node, "trust_remote_code") != "False"] == []
    assert [name for name, node in pretrained if keyword(node, "local_files_only") != "True"] == []


def test_yaml_makes_plain_data_only() -> None:
    assert named("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all") == []
    assert [keyword(node, "Loader") for _, node in CALLS if ast.unparse(node.func) == "yaml.compose"] == [
        "yaml.SafeLoader"
    ]


def test_no_command_goes_through_a_shell() -> None:
    assert named("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput") == []
    assert [name for name, node in CALLS if keyword(node, "shell") not in (None, "False")] == []


def test_no_name_of_a_temporary_file_can_be_guessed() -> None:
    assert named("tempfile.mktemp", "os.tempnam", "os.tmpnam") == []


def test_no_certificate_goes_unchecked() -> None:
    assert [name for name, node in CALLS if keyword(node, "verify") == "False"] == []
    assert named("ssl._create_unverified_context") == []


def test_no_connection_to_sqlite_loads_extensions() -> None:
    assert [name for name, node in CALLS if ast.unparse(node.func).endswith(".enable_load_extension")] == []


@pytest.mark.parametrize("target", ["ui"])
def test_the_user_interface_listens_on_this_machine_alone(target: str) -> None:
    rule = (ROOT / "Makefile").read_text().partition(f"\n{target}:")[2].partition("\n.PHONY")[0]
    assert "-h 127.0.0.1" in rule
    assert "0.0.0.0" not in (ROOT / "Makefile").read_text()


def test_what_is_installed_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if not re.match(r"^[A-Za-z0-9_.\[\]-]+==[^\s]+(\s*;.*)?$", line)] == []
    makefile = (ROOT / "Makefile").read_text()
    installed = [line for line in makefile.splitlines() if line.startswith("\t$(PIP)")]
    assert [line for line in installed if "-c constraints.txt" not in line and "$(TORCH)" not in line] == []


def test_only_the_decoder_starts_processes() -> None:
    starters = {name for module, name in imported() if module in ("subprocess", "multiprocessing")}
    assert starters == {"images/worker_process.py"}

"""Parsers of a model's files: every one of them may come from a stranger."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from embeddings_dagster.encoders import identify
from embeddings_dagster.encoders.checkpoint import load_weights
from embeddings_dagster.encoders.kept_model import is_whole
from embeddings_dagster.encoders.loading import load, unload
from embeddings_dagster.encoders.source_code import parse, source_digest
from embeddings_dagster.errors import EmbeddingsError, ModelError
from embeddings_dagster.settings_models import ImportPath, ModelSettings
from embeddings_dagster_tests.encoders.test_checkpoint import network
from embeddings_dagster_tests.encoders.tiny import save_clip
from embeddings_dagster_tests.security.fuzzing import Parser
from embeddings_dagster_tests.security.inputs import JSON_PIECES, PLAIN, damaged, encoded, text_of

IMPORT_PATHS: TypeAdapter[str] = TypeAdapter(ImportPath)
INDEX = "model.safetensors.index.json"
LOADED = ("config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors")


@cache
def files() -> dict[str, bytes]:
    """A whole CLIP of a few kilobytes, by the names of its files."""
    with tempfile.TemporaryDirectory() as folder:
        save_clip(Path(folder) / "clip")
        return {path.name: path.read_bytes() for path in (Path(folder) / "clip").iterdir()}


@contextmanager
def model_with(name: str, data: bytes) -> Iterator[Path]:
    """Its folder, with one file another."""
    folder = Path(tempfile.mkdtemp())
    try:
        for each, content in {**files(), name: data}.items():
            (folder / each).write_bytes(content)
        yield folder
    finally:
        unload()
        shutil.rmtree(folder)


def loaded(given: tuple[str, bytes]) -> None:
    with model_with(*given) as folder:
        encoder = load(ModelSettings(kind="clip", model=str(folder), device="cpu"))
        assert encoder.dimension > 0


def identified(given: tuple[str, bytes]) -> None:
    """Without weights in one file, so that the index is what counts."""
    with model_with(*given) as folder:
        if given[0] == INDEX:
            (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        found = identify(ModelSettings(kind="clip", model=str(folder)), download=False)
        assert found.dimension > 0
        assert all("/" not in name for name in found.details["files"])  # type: ignore[attr-defined]


@cache
def checkpoints() -> list[bytes]:
    import torch

    made = []
    for new in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"state_dict": network().state_dict()}, f"{folder}/a.pth", _use_new_zipfile_serialization=new)
            made.append(Path(f"{folder}/a.pth").read_bytes())
    return made


def checkpoint(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.pth"
        path.write_bytes(data)
        load_weights(path, network(), "page")


def import_path(text: str) -> None:
    assert len(source_digest(parse(IMPORT_PATHS.validate_python(text)))) == 64


def kept(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "contents.json").write_bytes(data)
        assert not is_whole(Path(folder)), "no file is there"


@st.composite
def changed(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[str, bytes]:
    name = draw(st.sampled_from(names))
    original = files().get(name, index())
    if not name.endswith(".json"):
        return name, draw(damaged([original], head=1_000))
    return name, draw(st.one_of(damaged([original], 2, 2_000), encoded(text_of(JSON_PIECES)), replaced(original)))


@st.composite
def replaced(draw: st.DrawFn, original: bytes) -> bytes:
    """JSON in which one value is another: what parses is what goes furthest."""
    document = json.loads(original)
    held = document
    while True:
        inner = [key for key, value in held.items() if isinstance(value, dict) and value]
        if not inner or draw(st.booleans()):
            break
        held = held[draw(st.sampled_from(inner))]
    if held:
        held[draw(st.sampled_from(sorted(held)))] = draw(st.one_of(PLAIN, st.sampled_from([0, -1, 2**31, 10**9, 500])))
    return json.dumps(document).encode()


def index(target: str = "model-00001-of-00001.safetensors") -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {"visual_projection.weight": target, "x": target}}).encode()


def _configuration(**text: int) -> bytes:
    return json.dumps({"model_type": "clip", "text_config": text}).encode()


def _cases() -> tuple[tuple[str, Any], ...]:
    return (
        ("weights outside of the folder: loaded once", (INDEX, index("../model.safetensors"))),
        ("weights in a pickle: loaded once", (INDEX, index("weights.bin"))),
        ("an index of a hundred thousand levels: a RecursionError once", (INDEX, b"[" * 100_000)),
        ("a configuration of as many: a RecursionError once", ("config.json", b"[" * 100_000)),
        ("a million layers: hours once", ("config.json", _configuration(num_hidden_layers=10**6))),
        ("a vocabulary of all memory", ("config.json", _configuration(vocab_size=10**12))),
        ("a header of half of all memory", ("model.safetensors", b"\0\0\0\0\0\0\0\x80")),
        ("a header that ends beyond the file", ("model.safetensors", (10**8 - 1).to_bytes(8, "little") + b"{")),
    )


MODEL_PARSERS = (
    Parser(
        "files that say what a model is",
        "models",
        ("encoders.files", "encoders.dimension", "encoders.identity"),
        changed((INDEX, "config.json", "model.safetensors")),
        identified,
        (EmbeddingsError,),
        _cases(),
        share=0.5,
    ),
    Parser(
        "files of a model",
        "models",
        ("encoders.loading", "encoders.tokens", "encoders.preprocess"),
        changed(LOADED),
        loaded,
        (EmbeddingsError,),
        (("a tokenizer of a hundred thousand levels", ("tokenizer.json", b"[" * 100_000)),),
        share=0.15,
    ),
    Parser(
        "checkpoints",
        "models",
        ("encoders.checkpoint",),
        st.deferred(lambda: damaged(checkpoints(), head=300)),
        checkpoint,
        (ModelError,),
        share=0.5,
    ),
    Parser(
        "import paths",
        "models",
        ("encoders.source_code", "encoders.import_path"),
        text_of(["os", "json", ":", ".", "/", ".py", "..", "Name", "~"], 8),
        import_path,
        (ModelError, ValidationError),
        (
            ("half of a character in the name of a file", "./a\ud800.py:Name"),
            ("half of a character in the name of a user", "~\ud800/a.py:Name"),
            ("a user who is not here", "~nosuch/a.py:Name"),
            ("a user whom nobody can be called", "~\0/a.py:Name"),
            ("half of a character in the name of a module", "os.\ud800:Name"),
        ),
        share=0.5,
    ),
    Parser(
        "contents of a compiled model",
        "models",
        ("encoders.kept_model",),
        encoded(text_of([*JSON_PIECES, '"files"'])),
        kept,
    ),
)

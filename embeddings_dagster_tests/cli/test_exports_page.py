"""docs/exports.md: its commands and its program run as they stand there, and leave the files it names."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from embeddings_dagster_tests.cli.conftest import Command
from embeddings_dagster_tests.exports.shelf import make_shelf, read

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "exports.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


def test_what_the_page_shows_runs(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = make_shelf(tmp_path)
    products = [f"shop:p{number}" for number in range(30)]
    shelf.put(*(f"art:{number:04}.png" for number in range(1, 12)), *products)
    shelf.catalogue({each: {"price": number, "brand": "Acme"} for number, each in enumerate(products)})
    monkeypatch.chdir(tmp_path)
    for line in block("sh").splitlines():
        said = command(*re.sub(r"\s+#.*", "", line).replace("'", "").split()[1:])
        assert (said.code, said.out.split()[0]) == (0, "exported"), said.err
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block("python"), {})
    assert printed.getvalue().startswith("float32 (11, 8) the first is picture 1:")
    assert "like p0 are ['p0', " in printed.getvalue()
    written = {
        str(path.relative_to(tmp_path))
        for name in ("art*", "web/*", "shop/*", "cheap/*")
        for path in tmp_path.glob(name)
    }
    assert written == {
        "art.npy", "art_info.json", "web/art.json", "web/art_metadata.json",
        "shop/clip_embeddings.npy", "shop/embedding_metadata.json",
        "shop/hnsw_clip_8.faiss", "shop/hnsw_clip_8_product_ids.json", "shop/hnsw_clip_8_index.json",
        "cheap/clip_embeddings.npy", "cheap/embedding_metadata.json",
    }  # fmt: skip
    assert read(tmp_path / "cheap" / "embedding_metadata.json")["count"] == 21


def test_every_key_and_name_it_speaks_of_is_written(tmp_path: Path) -> None:
    from embeddings_dagster.exports import export_faiss, export_json, export_npy

    shelf = make_shelf(tmp_path)
    shelf.put("shop:a", "shop:b")
    reports = [export(shelf.context, None, tmp_path / "out") for export in (export_npy, export_json, export_faiss)]
    keys = {key for report in reports for file in report.files if file.path.suffix == ".json"
            and isinstance(said := read(file.path), dict) for key in said}  # fmt: skip
    named = "model, count, ids, product_ids, dimensions, description, dimension, index_type, metric"
    assert {*named.split(", "), "name", "fingerprint", "generation", "run_id", "created_at", "scaled"} <= keys
    assert [name for name in named.split(", ") if name not in PAGE] == []

"""An application that starts does not wait for torch, and never for what it has no use for."""

import subprocess
import sys

import pytest

MODELS = {"torch", "transformers", "huggingface_hub", "openvino", "pydantic"}
NEVER = {"dagster", "faiss", "pyarrow", "sqlalchemy", "typer"}


@pytest.mark.parametrize(
    ("statement", "without"),
    [
        ("import embeddings_dagster", MODELS | NEVER | {"numpy", "PIL"}),
        ("from embeddings_dagster import CLIPEmbedder", MODELS | NEVER),
        (
            "from embeddings_dagster import CLIPEmbedder; CLIPEmbedder('bundled:clip')",
            {"dagster", "torch", "transformers"},
        ),
        (
            "from embeddings_dagster import CLIPEmbedder; CLIPEmbedder('bundled:clip').get_embedding_dimension()",
            {"dagster", "faiss", "torch", "transformers"},
        ),
    ],
)
def test_what_is_loaded_when(statement: str, without: set[str]) -> None:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not without & set(done.stdout.split())


def test_what_the_package_does_not_have() -> None:
    import embeddings_dagster

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = embeddings_dagster.nothing


OFFLINE = """
import asyncio
from embeddings_dagster import CLIPEmbedder
from embeddings_dagster.errors import ModelUnavailable
async def main():
    async with CLIPEmbedder() as embedder:
        try:
            await embedder.generate_embedding(b"")
        except ModelUnavailable as error:
            print(error)
asyncio.run(main())
"""


def test_without_the_hub_the_message_says_what_to_do(tmp_path: object) -> None:
    import os

    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert "'openai/clip-vit-base-patch32'" in done.stdout
    assert "bundled:clip" in done.stdout

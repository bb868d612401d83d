"""What a sensor may do without loading a machine-learning library."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "huggingface_hub", "faiss", "openvino", "nncf"}


@pytest.mark.parametrize(
    "statement",
    [
        "import embeddings_dagster.encoders",
        "import embeddings_dagster.engines",
        "from embeddings_dagster import CLIPEmbedder; import embeddings_dagster.stages.calibration",
        "from embeddings_dagster.encoders import identify; "
        "from embeddings_dagster.settings_models import ModelSettings; "
        "identify(ModelSettings(kind='clip', model='bundled:clip'))",
    ],
)
def test_loads_no_heavy_library(statement: str) -> None:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)

"""Where encoding runs: here, in this process, or (later) elsewhere."""

from embeddings_dagster.engines.base import Engine
from embeddings_dagster.engines.local import LocalEngine

__all__ = ["Engine", "LocalEngine"]

"""Where pictures come from. A source lists what there is, without reading it, and reads one picture on request."""

from embeddings_dagster.sources.base import LOOK, SCAN, Picture, Problem, Record, RegionRecord, Scan, Source
from embeddings_dagster.sources.open import open_source

__all__ = [
    "LOOK",
    "SCAN",
    "Picture",
    "Problem",
    "Record",
    "RegionRecord",
    "Scan",
    "Source",
    "open_source",
]

"""The catalogue of records: what is known of every live row, for filters, facet counts and keyword search.

Derived from raw_images, and can be made anew from it at any time. Each state is a generation: an immutable SQLite file
and the manifest that names it. Nothing here knows how it is kept in step; that is `stages/catalog.py`.
"""

from embeddings_dagster.catalog.catalogue import KEPT, Catalogue
from embeddings_dagster.catalog.conditions import Condition, parse_condition
from embeddings_dagster.catalog.filters import Filter
from embeddings_dagster.catalog.layout import LAYOUT
from embeddings_dagster.catalog.manifest import CatalogueManifest
from embeddings_dagster.catalog.records import Cursor, Facet, Field, Picture, Record, Region
from embeddings_dagster.catalog.snapshot import Snapshot
from embeddings_dagster.catalog.writing import CatalogueWriter, flaws, proven, writing
from embeddings_dagster.ids import ALL, PARTS, WHOLE, Regions

__all__ = [
    "ALL",
    "KEPT",
    "LAYOUT",
    "PARTS",
    "WHOLE",
    "Catalogue",
    "CatalogueManifest",
    "CatalogueWriter",
    "Condition",
    "Cursor",
    "Facet",
    "Field",
    "Filter",
    "Picture",
    "Record",
    "Region",
    "Regions",
    "Snapshot",
    "parse_condition",
    "flaws",
    "proven",
    "writing",
]

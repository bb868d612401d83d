"""Making page specs, from a mapping of pages to predictions and texts."""

from embeddings_dagster.sources.page_specs.make import Made, make_page_specs, put_file

__all__ = ["Made", "make_page_specs", "put_file"]

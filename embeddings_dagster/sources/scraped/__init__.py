"""Batches that a scraper leaves in a folder, as found."""

from embeddings_dagster.sources.scraped.source import ScrapedSource

__all__ = ["ScrapedSource"]

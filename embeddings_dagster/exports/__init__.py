"""Exports: vectors as files in the shapes that other programs read, from one generation of one index each.

An export is checked before it is put in place, and its description comes last: whoever finds one whole has vectors and
ids of the same state. See docs/exports.md.
"""

from embeddings_dagster.exports.hnsw import export_faiss
from embeddings_dagster.exports.npy import export_npy
from embeddings_dagster.exports.report import ExportedFile, ExportReport
from embeddings_dagster.exports.rows import Wanted
from embeddings_dagster.exports.web_json import export_json

__all__ = ["ExportReport", "ExportedFile", "Wanted", "export_faiss", "export_json", "export_npy"]

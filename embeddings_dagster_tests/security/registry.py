"""Every module of the package that reads what others wrote, and where it is tried: by a parser of the registry, by
another test, or never, because it reads only what its own sha256 was checked of, or what this project wrote itself.

A new module that parses anything belongs here; `test_parsers.py` finds those that are not.
"""

import ast
from pathlib import Path

import embeddings_dagster
from embeddings_dagster_tests.security.parsers_files import FILE_PARSERS
from embeddings_dagster_tests.security.parsers_models import MODEL_PARSERS
from embeddings_dagster_tests.security.parsers_text import TEXT_PARSERS

PARSERS = (*TEXT_PARSERS, *FILE_PARSERS, *MODEL_PARSERS)
PACKAGE = Path(embeddings_dagster.__file__).parent
HASHED = "its sha256 is checked first: security/test_hash_first.py"
OWN = "reads what this project derived, in its cache or beside; whoever writes there is out of scope"
ELSEWHERE = {
    "catalog.conditions": "tried here",
    "catalog.layout": HASHED,
    "catalog.snapshot": HASHED,
    "catalog.writing": HASHED,
    "catalog.manifest": "store.versions checks the seal of every manifest",
    "cli.examine": "asks the environment for names alone",
    "cli.look": "writes CSV; security/test_outputs.py",
    "cli.terminal": "writes JSON; security/test_outputs.py",
    "cli.forget": "asks the environment for names alone",
    "cli.app": "options of a command are its user's",
    "cli.comics": "options of a command are its user's; writes CSV",
    "cli.findings": "asks the environment for names alone",
    "cli.running": "asks the environment for names alone",
    "definitions": "asks the environment where the settings are",
    "defs.findings": HASHED,
    "defs.home": "its own configuration of Dagster",
    "defs.metadata": HASHED,
    "defs.resources": "settings that were validated",
    "demo.sample": "files of the package",
    "demo.searches": "files of the package",
    "demo.shop": "files of the package",
    "demo.place": "files of the package",
    "embedder.models": "options of a program are its author's",
    "encoders.checkpoint": "tried here",
    "encoders.openvino_backend": HASHED,
    "encoders.openvino_model": HASHED,
    "encoders.text_side": "tokens of a model that was loaded",
    "exports.hnsw": "a description beside an export of its own: exports/test_placing.py",
    "exports.npy": "its own export, opened again without pickle: exports/test_checks.py",
    "exports.rows": HASHED,
    "exports.staging": "its own export",
    "exports.target": "a description beside an export of its own: exports/test_placing.py",
    "exports.verify": "a description beside an export of its own; damage/test_found.py",
    "exports.web_json": "its own export, opened again: exports/test_checks.py",
    "images.frames": "images/test_frames.py",
    "images.worker_process": "images/test_worker_process.py",
    "images.worker": "images/test_worker_process.py",
    "index.copies": HASHED,
    "index.generation": HASHED,
    "index.graph_writer": HASHED,
    "index.library": HASHED,
    "index.manifest": "store.versions checks the seal of every manifest",
    "index.rows": HASHED,
    "index.searchers": HASHED,
    "index.segment": HASHED,
    "index.segment_writer": "writes what it made",
    "search.records": HASHED,
    "sources.downloads.answers": "sources/test_downloads.py and security/test_servers.py",
    "sources.downloads.cache": "sources/test_downloads_cache.py and security/test_paths.py",
    "sources.downloads.cutoff": "sources/test_downloads.py",
    "sources.downloads.retries": "sources/test_downloads_parts.py",
    "sources.downloads.session": "sources/test_downloads_addresses.py",
    "sources.downloads.transfer": "sources/test_downloads.py",
    "sources.downloads.verify": "the record of its own downloads, as sources.downloads.cache",
    "sources.comics.pictures": "sources/test_comics_list.py; paths are those of sources.tails",
    "sources.catalog.contents": "tried here, by the catalogue",
    "sources.catalog.opening": "settings that were validated",
    "stages.analysis_files": HASHED,
    "stages.calibration": HASHED,
    "stages.canaries": HASHED,
    "stages.duplicates": HASHED,
    "stages.duplicates_signature": HASHED,
    "stages.embedding_map": HASHED,
    "stages.catalog_rows": HASHED,
    "stages.compact_rows": HASHED,
    "stages.explain": HASHED,
    "stages.index_state": OWN,
    "stages.analysis_drawing": HASHED,
    "stages.ledger_place": "rows of the ledger, hashed",
    "stages.ledger_rows": "rows of the ledger, hashed",
    "stages.repair_ledger": "rows of the ledger and of raw_images, hashed",
    "stages.recall": "a seed of its own",
    "defs.config": "configuration of a run, typed by Dagster",
    "stages.live_files": HASHED,
    "stages.models": "manifests, sealed",
    "stages.overlap": HASHED,
    "stages.remembered_table": OWN,
    "stages.text_queries": HASHED,
    "store.checked": OWN,
    "store.heads": OWN,
    "store.remembered": OWN,
    "store.chain": "store.versions checks the seal of every manifest",
    "store.ledger": "store.versions checks the seal of every manifest",
    "store.manifest": "store.versions checks the seal of every manifest",
    "store.parts": HASHED,
    "store.steps": "the environment of tests",
    "store.store": "settings that were validated",
}  # fmt: skip

# Calls by which bytes or text become something else: a module with one of them parses.
PARSING = frozenset(
    {
        "json.loads", "json.load", "csv.reader", "csv.DictReader", "yaml.compose", "yaml.safe_load", "np.load",
        "np.frombuffer", "np.fromfile", "pq.ParquetFile", "pq.read_table", "Image.open", "kind.open",
        "sqlite3.connect", "datetime.fromisoformat", "datetime.strptime", "torch.load", "safe_open", "load_file",
        "importlib.import_module",
        "base64.b64decode", "zlib.decompressobj", "gzip.GzipFile", "pa.decompress", "struct.unpack_from",
        "struct.unpack",
        "urlsplit", "urljoin", "ast.parse", "os.environ.get", "from_pretrained", "read_index", "deserialize_index",
        "model_validate", "model_validate_json", "int.from_bytes", "spec_from_file_location", "zipfile.ZipFile",
    }
)  # fmt: skip


def parsing_modules() -> set[str]:
    """The modules of the package that parse anything, by name below it."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if any(call in PARSING or call.rpartition(".")[2] in PARSING for call in called):
            found.add(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    return found

"""Every kind of file under a store's root: how it is named, and what `verify` is to call it.

A file that fits no line fails the tests until it is in the table, or is said to be beyond verification, and why.
"""

import re
from pathlib import Path
from typing import NamedTuple

ID = r"[0-9a-f]{32}"
FP = r"[0-9a-f]{12}"
MANIFEST = r"manifests/\d{8}\.json"
ROWS = rf"(raw_images|rgb_images|embeddings/[a-z]+/{FP})"


class Kind(NamedTuple):
    """`dataset` and `batch` of a problem are groups of the pattern, or as they stand where it has none."""

    name: str
    pattern: str
    dataset: str
    batch: str


KINDS = [
    Kind("ledger manifest", rf"(?P<unit>sources/(?P<batch>[a-z]+))/{MANIFEST}", "sources", "batch"),
    Kind("ledger part", rf"(?P<unit>sources/[a-z]+)/parts/{ID}\.parquet", "sources", ""),
    *(
        Kind(f"{what} {which}", rf"(?P<unit>(?P<dataset>{place})/(?P<batch>[a-z_0-9]+))/{inside}", "dataset", "batch")
        for what, place in [
            ("raw", "raw_images"),
            ("rgb", "rgb_images"),
            ("embeddings", rf"embeddings/[a-z]+/{FP}"),
        ]
        for which, inside in [("manifest", MANIFEST), ("part or failures", rf"parts/{ID}\.parquet")]
    ),
    *(
        Kind(f"index {which}", rf"(?P<unit>indexes/(?P<batch>[a-z]+)/{FP})/{inside}", "indexes", "batch")
        for which, inside in [
            ("manifest", MANIFEST),
            ("faiss", r"segments/\w{32}/index\.faiss"),
            ("vectors", r"segments/\w{32}/vectors\.npy"),
            ("rows", r"segments/\w{32}/rows\.parquet"),
            ("copies", r"segments/\w{32}/copies\.npy"),
            ("deletions", rf"deletions/{ID}\.npy"),
        ]
    ),
    Kind("catalogue manifest", rf"(?P<unit>catalog)/{MANIFEST}", "catalog", ""),
    Kind("catalogue file", rf"(?P<unit>catalog)/files/{ID}\.sqlite", "catalog", ""),
    *(
        Kind(f"{analysis} {which}", rf"(?P<unit>analysis/(?P<batch>{place}))/{inside}", "analysis", "batch")
        for analysis, place, suffixes in [
            ("near_duplicates", "near_duplicates", "parquet"),
            ("map", "embedding_map/[a-z]+", "parquet|png"),
            ("canaries", rf"canaries/[a-z]+/{FP}", "parquet"),
        ]
        for which, inside in [("manifest", MANIFEST), ("file", rf"parts/{ID}\.({suffixes})")]
    ),
    Kind("registry", rf"(?P<unit>models/(?P<batch>[a-z]+))/{MANIFEST}", "models", "batch"),
    Kind("calibration record", rf"(?P<unit>models/(?P<batch>[a-z]+)/calibration/{FP}-1)/{MANIFEST}", "models", "batch"),
    Kind("calibration file", rf"(?P<unit>models/(?P<batch>[a-z]+)/calibration/{FP}-1)/files/{ID}\.(xml|bin)", "models",
         "batch"),
    Kind("export description", r"(?P<unit>exports(/\w+)*)/\w+_(info|metadata|index)\.json", "exports", ""),
    Kind("export", r"(?P<unit>exports(/\w+)*)/\w+(?<!_info)(?<!_metadata)(?<!_index)\.(npy|json|faiss)", "exports", ""),
    Kind("download", r"(?P<unit>image_cache/(?P<batch>[a-z]+))/\w+\.png", "image_cache", "batch"),
]  # fmt: skip

BEYOND = {
    r"cache/.*": "derived; what is damaged there is made anew, or costs a second look",
    r"image_cache/[a-z]+/\.?urls\.sqlite.*": "changes with every download, so that no hash of it can be kept",
}


class File(NamedTuple):
    """A committed file: its path under the root, and what verify is to say of it. Files of a `unit` may hide each
    other's damage, those of two never do."""

    path: str
    kind: str
    unit: str
    dataset: str
    batch: str | None


def committed(root: Path) -> list[File]:
    """Every file that `verify` answers for. Raises AssertionError for one of an unknown kind."""
    found, unknown = [], []
    for path in sorted(each.relative_to(root).as_posix() for each in root.rglob("*") if each.is_file()):
        if any(re.fullmatch(pattern, path) for pattern in BEYOND):
            continue
        fitting = [(kind, match) for kind in KINDS if (match := re.fullmatch(kind.pattern, path))]
        if len(fitting) != 1:
            unknown.append((path, [kind.name for kind, _ in fitting]))
            continue
        ((kind, match),) = fitting
        groups = match.groupdict()
        batch = groups["batch"] if kind.batch else None
        found.append(File(path, kind.name, match["unit"], groups.get("dataset", kind.dataset), batch))
    assert not unknown, f"of no kind, or of several, in {__file__}: {unknown}"
    return found

"""What kills leave behind: only files of documented kinds, none of which anybody reads."""

import re
from collections import Counter
from pathlib import Path

from embeddings_dagster_tests.torture.audit import Audit, require

HEX = "[0-9a-f]{32}"
# Temporary names, and whole files that no manifest names, of each kind of thing that is committed.
KINDS = {
    "temporary": re.compile(rf"(.*/)?\.[^/]+\.{HEX}\.tmp"),
    "part": re.compile(rf"(sources|raw_images|rgb_images|embeddings|analysis)/.*/parts/{HEX}\.\w+"),
    "segment": re.compile(rf"indexes/.*/segments/{HEX}/[\w.]+"),
    "deletions": re.compile(rf"indexes/.*/deletions/{HEX}\.npy"),
    "catalogue": re.compile(rf"catalog/files/{HEX}\.sqlite"),
}


def require_documented(root: Path, audit: Audit) -> Counter[str]:
    """How many files of each kind no version names; any of another kind is a violation."""
    found: Counter[str] = Counter()
    for path in audit.litter():
        kind = next((name for name, pattern in KINDS.items() if pattern.fullmatch(path)), None)
        require(kind is not None, f"{path} is named by nothing, and is of no documented kind")
        found[str(kind)] += 1
    audit.checks["litter is of documented kinds"] += 1
    return found

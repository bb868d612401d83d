"""Writes documents of format 1 as the releases of that time did. Frozen: it stays as it is, whatever the store becomes.

`turn_back` makes a store of today one of then: every manifest is sealed again, in the order it was committed, without
what came later.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]
Layout = Callable[[Mapping[str, Any]], bytes]


def indented(document: Mapping[str, Any]) -> bytes:
    """The first releases: all of it indented by one more for each level."""
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True).encode()


def in_lines(document: Mapping[str, Any]) -> bytes:
    """Later ones: a line for each key, and for each element of what it holds."""
    lines = [f"{_compact(name)}: {_lines_of(document[name])}" for name in sorted(document)]
    return ("{\n" + ",\n".join(lines) + "\n}").encode()


def _lines_of(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{\n " + ",\n ".join(f"{_compact(name)}: {_compact(value[name])}" for name in sorted(value)) + "\n}"
    if isinstance(value, list) and value:
        return "[\n " + ",\n ".join(map(_compact, value)) + "\n]"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


LAYOUTS: Mapping[str, Layout] = {"indented": indented, "in lines": in_lines}


def sealed(body: Mapping[str, Any], layout: Layout) -> bytes:
    """A document of format 1."""
    document = {name: value for name, value in body.items() if name != "self_sha256"} | {"format_version": 1}
    return layout({**document, "self_sha256": hashlib.sha256(layout(document)).hexdigest()})


def turn_back(root: Path, layout: Layout) -> int:
    """Make every manifest under `root` one of format 1; returns how many there are."""
    seals: dict[str, str] = {}
    paths = sorted(root.rglob("manifests/*.json"))
    for path in paths:
        document = json.loads(path.read_bytes())
        before = document["self_sha256"]
        if document.get("failures"):
            del document["failures"]["bytes"]
        if document.get("previous"):
            document["previous"]["sha256"] = seals[document["previous"]["sha256"]]
        path.write_bytes(sealed(document, layout))
        seals[before] = json.loads(path.read_bytes())["self_sha256"]
    return len(paths)

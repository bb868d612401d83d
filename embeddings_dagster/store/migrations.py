"""Documents of earlier formats, brought to the present one in memory as they are read; nothing on disk is rewritten.

One function for each step, from format n to n + 1. A document's seal is proven over its bytes as they were written,
before anything here touches it; the next commit writes the present format.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

Document = dict[str, Any]


def _failures_have_bytes(document: Document) -> Document:
    """Format 2: the entry of a batch's failures file says its bytes, as those of parts do; of an older one nobody
    knows them."""
    failures = document.get("failures")
    return {**document, "failures": {**failures, "bytes": None}} if isinstance(failures, Mapping) else document


STEPS: Final[Mapping[int, Callable[[Document], Document]]] = {
    1: _failures_have_bytes,
}
FORMAT_VERSION: Final = max(STEPS) + 1


def upgraded(document: Mapping[str, Any], steps: Mapping[int, Callable[[Document], Document]] = STEPS) -> Document:
    """A document of any format up to the present one, as one of the present: every step from its own, in order."""
    found = dict(document)
    for number in range(found["format_version"], max(steps) + 1):
        found = {**steps[number](found), "format_version": number + 1}
    return found

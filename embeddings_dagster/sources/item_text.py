"""The text of an item's pictures: what its metadata says in words, by the names that the settings give."""

from collections.abc import Iterator, Mapping, Sequence

from embeddings_dagster.sources.base import Plain, RegionRecord


def text_regions(metadata: Mapping[str, Plain], names: Sequence[str]) -> tuple[RegionRecord, ...]:
    """Region 0 with the values of `names`, in that order, a line for each; no region, where there is nothing to read.

    Numbers are read as they are written, lists value by value; true, false and objects are no words.
    """
    lines = [line for name in names for line in _words(metadata.get(name))]
    return (RegionRecord(0, text="\n".join(lines)),) if lines else ()


def _words(value: Plain) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str | int | float) and not isinstance(each, bool) and (text := str(each).strip()):
            yield text


def unread(names: Sequence[str]) -> str:
    """The problem of a source none of whose items has any of these."""
    return f"no item has a word in {' or '.join(map(repr, names))}, so that none has text; correct `text`"

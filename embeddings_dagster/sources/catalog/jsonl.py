"""Rows of JSON Lines: an object a line. A line that is none is told, counted and passed over."""

from collections.abc import Iterator

from embeddings_dagster.errors import BadRecord
from embeddings_dagster.sources.catalog.rows import NOT_A_RECORD, Report, Row, Unusable
from embeddings_dagster.sources.lenient_json import parse


def read_jsonl(lines: Iterator[str], report: Report) -> Iterator[Row]:
    """The rows; every line that is not blank is one.

    Raises:
        Unusable: the file is one JSON document and not a line for each record.
    """
    number = 0
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        number += 1
        if number == 1 and text.lstrip()[0] == "[":
            raise Unusable("is a JSON array; write each of its objects on a line of its own (jq -c '.[]')")
        place = report.place(line)
        try:
            value, repeated = parse(text.encode("utf-8", "replace"), place)
        except BadRecord as error:
            report.problem(line, str(error).removeprefix(f"{place}: "))
            report.ignore(NOT_A_RECORD)
            continue
        if not isinstance(value, dict):
            report.problem(line, f"is no object but {type(value).__name__}; write a record as {{…}}")
            report.ignore(NOT_A_RECORD)
            continue
        if repeated:
            report.problem(line, f"says {', '.join(repeated[:5])} twice; the last counts. Leave one")
        yield Row(number, line, tuple(value), list(value.values()))

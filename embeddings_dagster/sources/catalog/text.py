"""The lines of a text file that strangers wrote, in whatever encoding and with whatever line ends; one line at a time.

A byte order mark decides the encoding; without one, a line that is not UTF-8 is read as Windows-1252, and only that
line: a single damaged byte must not change the umlauts of all the others, and with them ids and addresses.
"""

import codecs
import io
import zlib
from collections.abc import Iterator
from typing import IO, AnyStr, BinaryIO

from embeddings_dagster.sources.catalog.rows import Report, Unusable

LONGEST_LINE = 64 * 2**20  # bytes (characters, in wide encodings)
LARGEST_UNPACKED = 4 * 2**30  # bytes out of a .gz
HEAD = 65_536  # bytes from which a file's kind is told
_WIDE_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_KINDS = (
    (b"PK\x03\x04", "a ZIP file, as Excel workbooks are"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "a SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard"),
    (b"BZh9", "packed by bzip2"),
    (b"\xfd7zXZ", "packed by xz"),
    (b"\x1f\x8b", "packed by gzip twice"),
)
_TEXT_CONTROLS = frozenset(b"\t\n\x0b\x0c\r\x1a\x1b\x1c\x1d\x1e\x1f")
_STRAY_CONTROLS, _MOST_CONTROLS = 16, 0.02  # of all bytes; text holds next to none


def text_lines(file: BinaryIO, head: bytes, encoding: str, report: Report, *, packed: bool) -> Iterator[str]:
    """The lines of `file`, without their ends, whose first bytes are `head`; `encoding`: a name, or `auto`.

    Line ends are `\\n`, `\\r\\n`, or `\\r` where the first line ends in one; any other `\\r` becomes a space. Lines
    whose encoding had to be guessed are told to `report` at the end.

    Raises:
        Unusable: this is no text, or the encoding is unknown.
    """
    wide = next((name for mark, name in _WIDE_MARKS if head.startswith(mark)), None)
    if encoding == "auto" and wide is None:
        _refuse_binary(head)
        lines = _either(_lines_of(file, packed), report)
    else:
        lines = _known(file, wide if encoding == "auto" and wide else encoding, report, packed)
    return _normal_ends(lines)


def _refuse_binary(head: bytes) -> None:
    kind = next((kind for magic, kind in _OTHER_KINDS if head.startswith(magic)), None)
    if kind:
        raise Unusable(f"is {kind}; export it as CSV in UTF-8, or correct `format`")
    controls = sum(head.count(byte) for byte in range(32) if byte not in _TEXT_CONTROLS)
    if controls > max(_STRAY_CONTROLS, _MOST_CONTROLS * len(head)):
        hint = "; if it is text in UTF-16, say so in `encoding`" if b"\0" in head else ""
        raise Unusable(f"is not text but binary{hint}; export it as CSV in UTF-8")


def _lines_of(file: IO[AnyStr], packed: bool) -> Iterator[AnyStr]:
    """Lines to their `\\n`. What a packed file or a disk says of damage is said as such."""
    total = 0
    while True:
        try:
            line = file.readline(LONGEST_LINE)
        except (EOFError, zlib.error, OSError, UnicodeError) as error:
            raise Unusable(f"cannot be read to its end ({error}); copy or write it again") from error
        total += len(line)
        if not line:
            return
        if len(line) >= LONGEST_LINE:
            raise Unusable(f"has a line of more than {LONGEST_LINE:,} bytes; correct it, it is no catalogue")
        if packed and total > LARGEST_UNPACKED:
            raise Unusable(f"unpacks to more than {LARGEST_UNPACKED:,} bytes; unpack it yourself, if it is meant")
        yield line


def _either(lines: Iterator[bytes], report: Report) -> Iterator[str]:
    guessed = first = 0
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            guessed += 1
            first = first or number
            yield line.decode("cp1252", "replace")
    if guessed:
        more = report.likewise(guessed - 1, "line")
        report.problem(first, f"is not UTF-8{more}; read as Windows-1252. Save the file as UTF-8, or set `encoding`")


def _known(file: BinaryIO, encoding: str, report: Report, packed: bool) -> Iterator[str]:
    try:
        wrapped = io.TextIOWrapper(file, encoding, errors="replace", newline="\n")
    except (LookupError, ValueError) as error:
        raise Unusable(f"cannot be read: there is no encoding {encoding!r}; correct `encoding`") from error
    replaced = first = 0
    for number, line in enumerate(_lines_of(wrapped, packed), 1):
        if "\ufffd" in line:
            replaced += 1
            first = first or number
        yield line
    if replaced:
        more = report.likewise(replaced - 1, "line")
        report.problem(first, f"does not fit the encoding {encoding}{more}; correct it")


def _normal_ends(lines: Iterator[str]) -> Iterator[str]:
    old_mac = None
    for line in lines:
        text = line.rstrip("\r\n")
        if old_mac is None:
            text = text.removeprefix("\ufeff")
            old_mac = "\r" in text
        if "\r" not in text:
            yield text
        elif old_mac:
            yield from text.split("\r")
        else:
            yield text.replace("\r", " ")

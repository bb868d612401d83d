"""What parsers are tried with: text of the pieces that matter to a format, and real files with damage."""

import json
from collections.abc import Sequence

from hypothesis import strategies as st

ODD_TEXT = (
    "\ud800",
    "\u202e",
    "\x1b[31m",
    "\0",
    "\ufeff",
    "﷽",
    "é",
    "e\u0301",
    "%2e%2e",
    "..",
    "/",
    "\\",
    "～",
    "ſ",
    "İ",
)
JSON_PIECES = (
    '{', '}', '[', ']', ',', ':', '"', '"a"', '"items"', '"id"', '"price"', '"panels"', '"bbox"', '"image_id"', "\\",
    '"\\ud800"', '"\\u0000"', "1e999999", "-1E-999999", "9" * 400, "9" * 5000, "0.1", "NaN", "-Infinity", "null",
    "true", "```json\n", "\n```", "\n", "\r", "\t", " ", "\ufeff", "//", "/*", "'", "[" * 300, '{"a":' * 300, "]" * 300,
)  # fmt: skip
YAML_PIECES = (
    "sources:", "models:", "rgb:", "data:", "kind: folder", "kind: catalog", "path: x", "max_bytes:", "max_seconds:",
    "\n", "\n  ", "\n    ", "- ", ": ", "&a ", "*a", "<<: *a", "!!python/object/apply:os.system [id]", "!!binary aGk=",
    "!!set {a, b}", "!!timestamp 2001-99-99", "? ", "| ", "> ", "'", '"', "{", "}", "[", "]", ",", "0x" + "f" * 300,
    "1" + ":59" * 40, ".inf", ".nan", "~", "null", "yes", "1e400", "---", "...", "%YAML 1.1", "\t", "#", '"\\0"',
    '"\\ud800"', "clip:", "art:", "model: bundled:clip", "true", "-1", "2001-01-01", "0o17", "1_000",
)  # fmt: skip
CSV_PIECES = (
    "product_id", "id", "group", "image_url", "image_path", "image_rel_path", "price", '"', '""', ",", ";", "\t", "|",
    "\n", "\r\n", "\r", "\0", "\ufeff", "sep=;", "=cmd|' /C calc'!A0", "@SUM(1)", "https://example.com/a.png", "ä",
    "nan", "1", "-", "x" * 300, "," * 300,
)  # fmt: skip
QUERY_PIECES = (
    "brand", "price", "title", "=", "!=", "<=", "..", "~", "!~", " in ", ",", '"', "'", "\\", "(", ")", "*", "-", "^",
    "NEAR(", "AND", "OR", "NOT", "{a b}:", "; drop table images; --", "' or 1=1 --", "\0", "1e999", "10..20", "%", "_",
    "metadata.", "image_id", "clip", "0.5", "a" * 300, '"' * 99, " " * 99,
)  # fmt: skip
URL_PIECES = (
    "http://", "https://", "//", "file:///etc/passwd", "javascript:", "user:pass@", "@", "example.com", "127.0.0.1",
    "[::1]", "[::ffff:10.0.0.1]", "0x7f.1", "2130706433", "localhost", ":80", ":99999", "/a/b", "?", "&", ";", "#",
    "token=s3cr3t", "X-Amz-Signature=s3cr3t", "%73ig=s3cr3t", "key", "sig", "=", "%0d%0a", "\r\nHost: x", "\\", " ",
    "{", '"', "'", "|", ",", "\u202e", "ß", "。", "&amp;",
)  # fmt: skip


def text_of(pieces: Sequence[str], most: int = 40) -> st.SearchStrategy[str]:
    """Text of the pieces that matter, of odd characters, and of anything."""
    piece = st.one_of(st.sampled_from(list(pieces)), st.sampled_from(list(ODD_TEXT)), st.text(max_size=4))
    return st.lists(piece, max_size=most).map("".join)


def encoded(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """The same in the encodings that are met, halves of characters and all."""
    encodings = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1", "utf-16-be"])
    return st.builds(lambda each, name: each.encode(name, _errors(name)), text, encodings)


def _errors(encoding: str) -> str:
    return "surrogatepass" if encoding.startswith("utf") else "replace"


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes], most: int = 5, head: int = 64) -> bytes:
    """A real file with a few bytes overwritten, flipped, cut out or doubled, or its end missing; half of it lies in the
    first `head` bytes, where formats decide."""
    data = bytearray(draw(st.sampled_from(list(files))))
    for _ in range(draw(st.integers(1, most))):
        reach = draw(st.sampled_from([head, len(data)]))
        at = draw(st.integers(0, max(0, min(reach, len(data)) - 1)))
        match draw(st.sampled_from(["set", "flip", "cut", "double", "end"])):
            case "set":
                data[at : at + 4] = draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]))
            case "flip":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del data[at : at + draw(st.integers(1, 40))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:
                del data[at + 16 :]
    return bytes(data)


def objects(*keys: str, within: str = "") -> st.SearchStrategy[bytes]:
    """JSON whose objects have the keys that a parser looks for, with values of any kind; `within`: a list of them is
    under that key of one more object."""
    each = st.dictionaries(st.one_of(st.sampled_from(keys), st.text(max_size=4)), PLAIN, max_size=6)
    whole = st.builds(lambda held, rest: {**rest, within: held}, st.lists(st.one_of(each, PLAIN), max_size=4), each)
    return (whole if within else each).map(lambda value: json.dumps(value).encode())


PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**320), 10**320),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["1e999", "NaN", "-1", "12,50 €", "2024-13-45", *ODD_TEXT]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)

import pytest

from embeddings_dagster.errors import FormatNotAllowed
from embeddings_dagster.images import decode
from embeddings_dagster.images.formats import FORMATS, describe_stranger, detect
from embeddings_dagster_tests.images.pictures import RULES, file_of, gradient


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_a_format_is_told_by_its_first_bytes(kind: object) -> None:
    picture = gradient() if kind.name != "GIF" else gradient().quantize()
    assert detect(file_of(picture, kind.name)) is kind


@pytest.mark.parametrize("data", [b"II\x2a\x00....", b"MM\x00\x2a....", b"II\x2b\x00....", b"MM\x00\x2b...."])
def test_both_byte_orders_and_big_tiff_are_tiff(data: bytes) -> None:
    assert detect(data).name == "TIFF"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture; export it as JPEG"),
        (b"\n<!DOCTYPE html><p>404", "a web page, perhaps an error page saved as a picture"),
        (b"<svg xmlns='x'/>", "SVG or XML, which has no pixels; export it as PNG"),
        (b"%PDF-1.7", "a PDF"),
        (b"P3 1 1 255 1 2 3", "a picture written as text"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer; fetch the real file"),
        (bytes(5000), "nothing but zero bytes"),
        (b"RIFF....WAVE", "sound or film"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b"\xef\xbb\xbf <html>", "a web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\0\0\1\0\1\0", "a Windows icon"),
        (b'{"error": "not found"}', "JSON or the like"),
        (b"PK\x03\x04", "an archive"),
        (b"\xff\xd8", "the beginning of a JPEG"),
        (b"RIFX....WEBP", "it begins with 52 49 46 58 2e 2e 2e 2e"),
    ],
)
def test_what_is_not_accepted_is_named(data: bytes, says: str) -> None:
    assert says in describe_stranger(data)
    with pytest.raises(FormatNotAllowed, match=f"^not a picture of an accepted format: {says[:12]}"):
        decode(data, RULES)

"""Risky pictures in a process of their own: the same answers, and whatever a picture does there, it does to itself."""

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from PIL import Image

from embeddings_dagster.errors import (
    DecodeFailed,
    DecodeOutOfMemory,
    DecoderUnavailable,
    DecodeTookTooLong,
    ImageError,
    TooManyPixels,
)
from embeddings_dagster.images import DecodeRules, Workshop, decode, probe, to_rgb
from embeddings_dagster.images.risk import risk
from embeddings_dagster_tests.images.pictures import (
    RULES,
    file_of,
    gradient,
    gradient_rgba,
    linear_profile,
    rgb_tiff,
    tile_bomb,
)
from embeddings_dagster_tests.images.workers import SLOW, TIFF, is_decoding, posix, processes, until

# Pytest undoes the filter that `opening` sets when it is imported.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.\w+ImagePlugin")

RISKY = {
    "tiff": TIFF,
    "tiff, turned, with a profile": file_of(gradient(), "TIFF", icc_profile=linear_profile(), tiffinfo={274: 6}),
    "tiff with alpha": file_of(gradient_rgba(), "TIFF", compression="tiff_lzw"),
    "16-bit tiff": file_of(Image.new("I;16", (9, 7), 3000), "TIFF"),
    "gif": file_of(gradient().quantize(), "GIF"),
    "bmp": file_of(gradient(), "BMP"),
    "pgm": file_of(gradient().convert("L"), "PPM"),
    "avif": file_of(gradient_rgba(), "AVIF"),
    "animated webp": file_of(gradient_rgba(), "WEBP", save_all=True, append_images=[gradient_rgba().rotate(90)]),
    "png of many pixels": file_of(Image.new("1", (6000, 5000), 1), "PNG"),
}


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    with Workshop(RULES) as made:
        yield made


@pytest.mark.parametrize("name", RISKY)
def test_the_answers_are_those_that_would_be_given_here(workshop: Workshop, name: str) -> None:
    data = RISKY[name]
    assert risk(data)
    assert workshop.probe(data) == probe(data, RULES)
    assert workshop.to_rgb(data) == to_rgb(data, RULES)
    assert workshop.decode(data) == decode(data, RULES)


def test_bytes_that_are_kept_come_back_as_the_same_object(workshop: Workshop) -> None:
    large = file_of(Image.new("RGB", (5000, 5010), (9, 99, 9)), "PNG", compress_level=1)
    assert risk(large) == "has many pixels"
    made = workshop.to_rgb(large)
    assert made.passthrough
    assert made.data is large


@pytest.mark.parametrize(
    "data",
    [TIFF[:60], b"GIF89a" + bytes(9), b"BM" + bytes(60), file_of(gradient(), "AVIF")[:-200]],
    ids=["TIFF", "GIF", "BMP", "AVIF"],
)
def test_so_are_the_errors(workshop: Workshop, data: bytes) -> None:
    with pytest.raises(ImageError) as here:
        to_rgb(data, RULES)
    with pytest.raises(type(here.value)) as apart:
        workshop.to_rgb(data)
    assert str(apart.value).startswith(str(here.value))
    assert apart.value.retryable is here.value.retryable


def test_rules_hold_there_too() -> None:
    with Workshop(DecodeRules(background=(1, 2, 3), max_pixels=24 * 16)) as workshop:
        clear = file_of(Image.new("RGBA", (2, 2), (9, 9, 9, 0)), "TIFF")
        assert workshop.decode(clear).getpixel((0, 0)) == (1, 2, 3)
        with pytest.raises(TooManyPixels, match=r"GIF: 24 x 17 pixels are more than rgb\.max_pixels = 384; raise it"):
            workshop.probe(file_of(gradient(24, 17).quantize(), "GIF"))


def test_the_cap_may_lie_above_pillows_own(workshop: Workshop) -> None:
    large = file_of(Image.new("1", (20_000, 10_000)), "TIFF", compression="group4")
    with Workshop(DecodeRules(max_pixels=200_000_000)) as raised:
        assert raised.probe(large).width == 20_000
    with pytest.raises(TooManyPixels, match="raise it"):
        workshop.probe(large)


def test_ordinary_pictures_start_no_process(workshop: Workshop) -> None:
    for data in (
        file_of(gradient(), "JPEG"),
        file_of(gradient_rgba(), "PNG"),
        b"",
        b"<html>",
        file_of(gradient(), "WEBP"),
    ):
        for use in (workshop.probe, workshop.to_rgb, workshop.decode):
            try:
                use(data)
            except ImageError:
                assert not risk(data)
    assert processes() == []


def test_processes_are_reused_and_end_with_the_workshop() -> None:
    with Workshop(RULES) as workshop:
        for _ in range(3):
            workshop.probe(TIFF)
        (worker,) = processes()
    assert not worker.is_running()
    assert workshop.probe(TIFF).format == "TIFF", "work after the end starts a new one"
    workshop.close()
    assert processes() == []


def test_a_decode_that_takes_too_long_ends_alone(workshop: Workshop) -> None:
    with Workshop(replace(RULES, max_seconds=0.5)) as hurried:
        hurried.probe(TIFF)
        (first,) = processes()
        with pytest.raises(
            DecodeTookTooLong, match=r"JPEG: not decoded within rgb.max_seconds = 0.5; raise it and run with --retry-f"
        ) as caught:
            hurried.to_rgb(SLOW)
        assert not caught.value.retryable
        assert not first.is_running()
        assert hurried.to_rgb(TIFF) == to_rgb(TIFF, RULES), "the next picture gets a new process"


@posix
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.parametrize("side", [12_000, 20_000, 40_000])
def test_a_decode_that_wants_gigabytes_ends_alone(workshop: Workshop, side: int) -> None:
    with pytest.raises(
        DecodeOutOfMemory, match=r"TIFF: .*than the 25\d MiB that 100 x 100 pixels may take; replace it, or save it"
    ) as caught:
        workshop.to_rgb(tile_bomb(side))
    assert not caught.value.retryable, "it would want as much the next time"
    assert workshop.to_rgb(TIFF) == to_rgb(TIFF, RULES)


def test_what_libraries_print_becomes_part_of_the_reason(workshop: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        DecodeFailed, match=r"TIFF: decoder error -2; .*\(the decoder says: .*LZMADecode: Decoding error"
    ):
        workshop.to_rgb(rgb_tiff(10, 10, b"junk" * 100, compression=34925))
    assert workshop.probe(TIFF).format == "TIFF"
    assert capfd.readouterr() == ("", "")


@posix
@pytest.mark.parametrize(
    ("sent", "becomes", "message"),
    [
        (signal.SIGKILL, DecodeOutOfMemory, "JPEG: its process was killed while it was decoded, most likely because"),
        (signal.SIGSEGV, DecodeFailed, r"JPEG: the decoder crashed on it \(SIGSEGV\); replace it, or save it again"),
    ],
)
def test_a_process_that_dies_over_a_picture_costs_that_picture(
    workshop: Workshop, sent: int, becomes: type[ImageError], message: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(workshop.to_rgb, SLOW)
        until(lambda: any(is_decoding(each.pid) for each in processes()))
        processes()[0].send_signal(sent)
        with pytest.raises(becomes, match=message) as caught:
            future.result()
    assert caught.value.retryable is (sent == signal.SIGKILL)
    assert workshop.probe(TIFF).format == "TIFF"


@posix
def test_a_picture_does_not_pay_for_those_before_it(workshop: Workshop) -> None:
    """A process that dies, and that had answered before, may have been damaged by another picture."""
    workshop.probe(TIFF)
    (worker,) = processes()
    worker.kill()
    worker.wait()
    assert workshop.probe(TIFF).format == "TIFF"
    (worker,) = processes()
    worker.suspend()  # so that it dies with the question half read
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(workshop.to_rgb, TIFF)
        worker.send_signal(signal.SIGSEGV)
        worker.resume()
        assert future.result() == to_rgb(TIFF, RULES)


def test_many_threads_share_a_few_processes() -> None:
    good, bad = list(RISKY.values())[:8], [TIFF[:60], tile_bomb(40_000), SLOW]
    rules = replace(RULES, max_seconds=1.5)
    expected = [to_rgb(data, RULES) for data in good]

    def work(turn: int) -> object:
        if turn % 10 == 9:
            with pytest.raises(ImageError) as caught:
                workshop.to_rgb(bad[turn // 10 % 3])
            return type(caught.value)
        return workshop.to_rgb(good[turn % 8])

    most = []
    with Workshop(rules, processes=2) as workshop, ThreadPoolExecutor(6) as pool:
        for turn, found in enumerate(pool.map(work, range(60))):
            most.append(len(processes()))
            if turn % 10 == 9:
                assert found is (DecodeFailed, DecodeOutOfMemory, DecodeTookTooLong)[turn // 10 % 3]
            else:
                assert found == expected[turn % 8], f"turn {turn}: the answer to another question"
    assert max(most) <= 2
    assert processes() == []


@pytest.mark.parametrize(
    ("executable", "says"),
    [
        ("/nowhere/python", "no process can be started to decode a picture in .*No such file"),
        pytest.param("/bin/false", r"did not start \(exit code 1\): it said nothing; check", marks=posix),
    ],
)
def test_a_machine_on_which_none_can_be_started_costs_no_picture(
    monkeypatch: pytest.MonkeyPatch, executable: str, says: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with Workshop(RULES) as workshop:
        with pytest.raises(DecoderUnavailable, match=says) as caught:
            workshop.probe(TIFF)
        assert not isinstance(caught.value, ImageError)
        assert workshop.probe(file_of(gradient(), "JPEG")).format == "JPEG"


def test_threads_that_wait_for_a_place_get_one(workshop: Workshop) -> None:
    gate = threading.Barrier(5)

    def work() -> str:
        gate.wait()
        return workshop.probe(TIFF).format

    with ThreadPoolExecutor(5) as pool:
        assert [each.result() for each in [pool.submit(work) for _ in range(5)]] == ["TIFF"] * 5

"""Worker processes as a test sees them from outside, and pictures that keep one busy."""

import os
import time
from collections.abc import Callable

import psutil
import pytest
from PIL import Image

from embeddings_dagster.images.worker_process import MODULE
from embeddings_dagster_tests.images.pictures import file_of, gradient, scan_bomb

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
TIFF = file_of(gradient(), "TIFF")
# 4 million pixels, 10 bytes a pass: minutes, in 400 kB.
SLOW = scan_bomb(file_of(Image.new("RGB", (2000, 2000), (9, 99, 9)), "JPEG", progressive=True), 30_000)


def processes() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if MODULE in " ".join(_command(each))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def is_decoding(pid: int) -> bool:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system > 0.5  # a start takes 0.15

"""One worker process: it leaves nothing behind, however it or its parent ends."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict

import psutil
import pytest

from embeddings_dagster.images.worker_process import WorkerDied, WorkerProcess
from embeddings_dagster_tests.images.pictures import RULES
from embeddings_dagster_tests.images.workers import SLOW, TIFF, is_decoding, posix, until


@posix
def test_ctrl_c_is_for_the_parent_to_obey() -> None:
    worker = WorkerProcess()
    try:
        os.kill(worker.pid, signal.SIGINT)
        answer, _ = worker.ask({"do": "probe", "rules": asdict(RULES)}, TIFF, 60)
        assert answer["format"] == "TIFF"
    finally:
        worker.end()


@posix
def test_it_dies_with_its_parent_even_in_the_middle_of_a_picture() -> None:
    script = (
        "import sys\n"
        "from embeddings_dagster.images import DecodeRules\n"
        "from embeddings_dagster.images.worker_process import WorkerProcess\n"
        "from dataclasses import asdict\n"
        "worker = WorkerProcess()\n"
        "print(worker.pid, flush=True)\n"
        "worker.ask({'do': 'to_rgb', 'rules': asdict(DecodeRules())}, sys.stdin.buffer.read(), 600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.stdin.write(SLOW)
        parent.stdin.close()
        until(lambda: is_decoding(worker.pid))
        parent.kill()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE  # where nobody reaps orphans


def test_an_expired_worker_is_of_no_more_use() -> None:
    worker = WorkerProcess()
    with pytest.raises(WorkerDied) as caught:
        worker.ask({"do": "to_rgb", "rules": asdict(RULES)}, SLOW, 0.3)
    assert caught.value.expired
    assert not worker.usable

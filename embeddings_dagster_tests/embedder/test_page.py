"""Every example of docs/embedder.md prints what the page says it prints."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "embedder.md").read_text()
EMOJI = ROOT / "data" / "sample" / "emoji"
PICTURES = {"heart.png": "symbols/red-heart.png", "pizza.png": "food/pizza.png", "dog.png": "animals/dog-face.png"}

EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
TOGETHER = """
import contextlib, io, json, sys
printed = []
for example in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(example, "example", "exec"), {"__name__": "__main__"})
    printed.append(out.getvalue())
    broken = __import__("pathlib").Path("broken.png")
    broken.unlink(missing_ok=True)
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each example prints, all in one process that does not import torch again for each."""
    import json

    folder = tmp_path_factory.mktemp("application")
    for name, picture in PICTURES.items():
        shutil.copy(EMOJI / picture, folder / name)
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER],
        input=json.dumps([code for code, _ in EXAMPLES]),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 7


@pytest.mark.parametrize("at", range(7))
def test_an_example_prints_what_the_page_says(printed: list[str], at: int) -> None:
    assert printed[at] == EXAMPLES[at][1]

"""docs/pictures.md says what the code does."""

import re
from pathlib import Path

import pytest

from embeddings_dagster import errors
from embeddings_dagster.images import risk, worker
from embeddings_dagster.images.profile import MAX_PROFILE_BYTES
from embeddings_dagster.settings import RgbSettings
from embeddings_dagster_tests.images.pictures import RULES

from make_hostile import EITHER, FAILURE, GOOD, IGNORED, KINDS, SPECIAL  # isort: skip - pictures puts tools on the path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "pictures.md").read_text()
EXPECTED = {name: (kind.expect, kind.errors) for name, kind in KINDS.items()} | SPECIAL


def table(heading: str) -> dict[str, list[str]]:
    """The first table under a heading: first cell -> the other cells."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows[2:]}


def test_each_kind_of_the_hostile_set_is_in_the_table_and_no_other() -> None:
    assert list(table("What each kind becomes")) == list(EXPECTED)


@pytest.mark.parametrize("kind", EXPECTED)
def test_it_becomes_what_the_table_says(kind: str) -> None:
    becomes = table("What each kind becomes")[kind][0]
    expect, classes = EXPECTED[kind]
    assert set(re.findall(r"`(\w+)`", becomes)) == set(classes)
    assert becomes.startswith("the picture") is (expect in (GOOD, EITHER))
    assert (becomes == "passed over") is (expect == IGNORED)
    assert expect != FAILURE or classes
    assert all(issubclass(getattr(errors, name), errors.ItemError) for name in classes)


@pytest.mark.parametrize("setting", ["max_bytes", "max_pixels", "max_seconds"])
def test_limits_have_the_defaults_that_the_page_gives(setting: str) -> None:
    default, error, _ = table("Limits")[f"`rgb.{setting}`"]
    assert float(default.replace(",", "")) == getattr(RgbSettings(), setting) == getattr(RULES, setting)
    assert issubclass(getattr(errors, error.strip("`")), errors.ImageError)


def test_what_goes_to_a_process_of_its_own_is_what_the_page_says() -> None:
    page = " ".join(PAGE.split())
    assert f"more than {risk.MAX_BYTES >> 20} MiB, or {risk.MAX_PIXELS:,} pixels" in page
    assert f"more than {risk.MAX_SEGMENTS} segments or {risk.MAX_SCANS} scans" in page
    assert f"more than {risk.MAX_CHUNKS:,} chunks" in page
    assert f"a colour profile of more than {risk.MAX_PROFILE_BYTES >> 10} KiB" in page
    assert f"beyond {MAX_PROFILE_BYTES >> 20} MiB, is ignored" in page
    assert (
        f"{worker.MEMORY_AT_LEAST >> 20} MiB, {worker.MEMORY_PER_BYTE} bytes for each byte of the file, and "
        f"{worker.MEMORY_PER_PIXEL} for each pixel" in page
    )

"""docs/maintenance.md: what it shows is typed as it stands there, and it names every kind of litter and format."""

import re
from itertools import pairwise
from pathlib import Path

import yaml

from embeddings_dagster.cli.gc import duration_of
from embeddings_dagster.settings import GcSettings, Settings
from embeddings_dagster.store.litter import KINDS
from embeddings_dagster.store.migrations import FORMAT_VERSION
from embeddings_dagster_tests.cli.test_help import ALL

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "maintenance.md").read_text()
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .+\n)+", PAGE, re.MULTILINE)
]


def test_the_commands_it_shows_are_commands_with_those_options() -> None:
    shown = [line.split() for block in BLOCKS for line in block.splitlines() if line.startswith("embeddings ")]
    assert len(shown) == 4
    for _, command, *arguments in shown:
        known = {option for parameter in ALL[(command,)].params for option in parameter.opts}
        assert {each for each in arguments if each.startswith("-")} <= known
        for option, value in pairwise(arguments):
            if option == "--older-than":
                duration_of(value)


def test_the_settings_it_shows_are_the_defaults() -> None:
    (shown,) = [yaml.safe_load(block) for block in BLOCKS if block.startswith("gc:")]
    assert Settings(**shown).gc == GcSettings()
    assert set(shown["gc"]) == set(GcSettings.model_fields)
    assert "gc_cron" in PAGE


def test_every_kind_and_every_format_is_explained_there() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(each) for each in range(1, FORMAT_VERSION + 1)]

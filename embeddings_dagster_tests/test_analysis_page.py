"""docs/analysis.md: what it shows is typed as it stands there, and it explains every key."""

import re
from pathlib import Path

import yaml

from embeddings_dagster.settings import AnalysisSettings, Settings
from embeddings_dagster.settings_sources import GroupSettings
from embeddings_dagster_tests.cli.test_help import ALL

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "analysis.md").read_text()
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .+\n)+", PAGE, re.MULTILINE)
]


def test_the_commands_it_shows_are_commands_with_those_options() -> None:
    shown = [line.split() for block in BLOCKS for line in block.splitlines() if line.startswith("embeddings ")]
    assert len(shown) == 2
    for _, command, *arguments in shown:
        known = {option for parameter in ALL[(command,)].params for option in parameter.opts}
        assert {each for each in arguments if each.startswith("-")} <= known


def test_the_settings_it_shows_are_settings() -> None:
    shown = [yaml.safe_load(block) for block in BLOCKS if block.startswith(("analysis:", "sources:"))]
    assert [list(each) for each in shown] == [["analysis"], ["sources"]]
    told = Settings(**shown[0], **shown[1])
    assert told.analysis == AnalysisSettings(model="clip"), "it shows the defaults"
    assert told.sources["art"].groups == GroupSettings(file=Path("groups.csv"))


def test_every_key_is_explained_there() -> None:
    keys = {*AnalysisSettings.model_fields, *GroupSettings.model_fields, "analyse_cron"}
    assert [key for key in keys if not re.search(rf"\b{key}\b", PAGE)] == []

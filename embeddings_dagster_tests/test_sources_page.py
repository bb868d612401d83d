"""docs/sources.md shows settings that are settings, and names every key of every kind that `init` does not explain."""

import re
from pathlib import Path

from embeddings_dagster.cli.template import render
from embeddings_dagster.settings import load_settings
from embeddings_dagster.settings_sources import CatalogSource, ComicsSource, FolderSource, ScrapedSource

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "sources.md").read_text()


def test_the_settings_it_shows_are_settings(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    for number, block in enumerate(blocks):
        text = block if block.startswith("sources:") else "sources:\n" + re.sub(r"(?m)^", "  ", block.rstrip()) + "\n"
        if block.lstrip().startswith(("fields:", "text:")):
            text = f"sources:\n  one:\n    kind: scraped\n    path: x\n    {block.strip()}\n"
        (tmp_path / f"{number}.yaml").write_text(text)
        assert load_settings(tmp_path / f"{number}.yaml").sources
    assert len(blocks) >= 3


def test_every_kind_has_its_chapter() -> None:
    chapters = set(re.findall(r"^## (\w+)$", PAGE, flags=re.MULTILINE))
    kinds = (FolderSource, ScrapedSource, CatalogSource, ComicsSource)
    assert {kind.model_fields["kind"].annotation.__args__[0] for kind in kinds} <= chapters


def test_every_key_is_explained_there_or_in_what_init_writes() -> None:
    explained = PAGE + render({"art": "art"})
    keys = {key for kind in (FolderSource, ScrapedSource, CatalogSource, ComicsSource) for key in kind.model_fields}
    assert [key for key in keys if key not in explained] == []

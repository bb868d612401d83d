"""docs/object-storage.md shows settings that are settings, names the extra that there is, and says what is true."""

import re
import tomllib
from pathlib import Path

from embeddings_dagster.settings import load_settings
from embeddings_dagster.store.object_system import PAGE as NAMED
from embeddings_dagster.store.object_system import TRIES
from embeddings_dagster.store.ranges import BLOCK

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "object-storage.md").read_text()


def test_the_settings_it_shows_are_settings(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "embeddings.yaml").write_text(block)
    settings = load_settings(tmp_path / "embeddings.yaml")
    assert settings.data_root == "s3://my-bucket/pictures"
    assert settings.cache_root == tmp_path / "cache"
    assert settings.image_cache("art") == tmp_path / "cache/image_cache/art"


def test_the_extra_it_names_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.findall(r"embeddings-dagster\[(\w+)\]", PAGE) == ["s3"]
    assert "s3" in extras


def test_messages_send_to_this_page() -> None:
    assert NAMED.startswith("docs/object-storage.md")


def test_the_numbers_it_says_are_those_of_the_code() -> None:
    assert f"blocks of {BLOCK // 2**20} MB" in PAGE
    assert (TRIES * 5, "up to fifteen times" in PAGE) == (15, True)
    assert f"{3 * 24 * 60 * 2:,} listings a day" in PAGE

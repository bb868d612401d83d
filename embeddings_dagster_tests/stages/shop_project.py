"""A small project whose one source is a `JsonSource`, brought as far as each test wants."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from embeddings_dagster.settings import Settings, settings_from
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages import discover as discover_module
from embeddings_dagster.stages import opened as opened_module
from embeddings_dagster.stages import raw as raw_module
from embeddings_dagster.stages import rgb as rgb_module
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import Discovery, discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Chain, Store
from embeddings_dagster_tests.stages.json_source import NAME, JsonSource, Pile


@dataclass
class Shop:
    """`pile` is written to, `source` read from; `discover`, `raw` and `rgb` are the stages."""

    pile: Pile
    source: JsonSource
    context: StageContext
    lines: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.context.store

    def with_settings(self, **source: object) -> "Shop":
        """The same project after its owner has changed the source's settings."""
        settings = shop_settings(self.pile.root.parent, **source)
        return replace(self, context=replace(self.context, settings=settings))

    def discover(self, **options: object) -> Discovery:
        return discover(self.context, NAME, **{"wait": True, "allow_removals": True, **options})

    def raw(self, batch: str, **changes: object) -> Account:
        return run_raw(replace(self.context, **changes), f"{NAME}__{batch}")

    def rgb(self, batch: str) -> Account:
        return run_rgb(self.context, f"{NAME}__{batch}")

    def chain(self, dataset: str, batch: str) -> Chain:
        return self.store.chain(dataset, f"{NAME}__{batch}")

    def rows(self, dataset: str, batch: str) -> dict[str, dict[str, object]]:
        """The live rows of the newest complete version, by image id (and region from 1 on)."""
        chain = self.chain(dataset, batch)
        manifest = chain.latest()
        assert manifest is not None
        rows = chain.rows(manifest).to_pylist()
        return {f"{row['image_id']}/{row['region']}" if row.get("region") else row["image_id"]: row for row in rows}

    def ledger(self) -> dict[tuple[str, str, int], bool]:
        """(batch, local id, ordinal) -> whether it is live."""
        ledger = self.store.ledger(NAME)
        manifest = ledger.latest()
        return {
            (batch.removeprefix(f"{NAME}__"), row["local_id"], row["ordinal"]): row["removed_at"] is None
            for batch in (manifest.batches if manifest else ())
            for row in ledger.rows(manifest, batch).to_pylist()
        }


def shop_settings(root: Path, **source: object) -> Settings:
    told = {"sources": {NAME: {"kind": "scraped", "path": "shop", **source}}, "batch_images": 4}
    return settings_from(Document("embeddings.yaml", told, {}), root=root)


def make_shop(root: Path, monkeypatch: pytest.MonkeyPatch, **options: bool) -> Shop:
    """An empty pile; its source takes the place of the one that the settings would open."""
    source = JsonSource(root / "shop", **options)

    def opened(settings: Settings, name: str, **wishes: object) -> JsonSource:
        return opened_module.opened_source(settings, name, **wishes) if name not in settings.sources else source

    for module in (discover_module, raw_module, rgb_module):
        monkeypatch.setattr(module, "opened_source", opened)
    settings, lines = shop_settings(root), []
    store = Store.open(settings.data_root, settings.cache_root)
    context = StageContext(settings, store, "run", lines.append, stop=threading.Event())
    return Shop(Pile(root / "shop"), source, context, lines)

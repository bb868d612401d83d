"""The project as its definitions see it: settings, the store, and where encoding runs.

Definitions close over a `Project`, and who builds them may put in another engine or watch the accounts go by.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from embeddings_dagster.defs.tags import CATALOG_POOL, GPU_POOL, index_pool
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.engines import Engine, LocalEngine
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.catalog import CatalogReport
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.index import IndexReport
from embeddings_dagster.store import Store


@dataclass(frozen=True)
class Watch:
    """Who looks on while runs execute in this process: the command line shows bars and tables from it."""

    account: Callable[[Account], None] | None = None
    index: Callable[[IndexReport], None] | None = None
    catalog: Callable[[CatalogReport], None] | None = None
    progress: Callable[[str, int, int], None] | None = None
    log: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Project:
    """Everything that definitions need; opening it reads nothing."""

    settings: Settings
    engine_instead: Engine | None = None
    watch: Watch = field(default_factory=Watch)

    @cached_property
    def engine(self) -> Engine:
        """Where encoding runs."""
        return self.engine_instead or LocalEngine(self.settings.cache_root)

    @cached_property
    def store(self) -> Store:
        return Store.open(self.settings.data_root, self.settings.cache_root)

    def stage_context(
        self,
        run_id: str,
        log: Callable[[str], None],
        stop: threading.Event,
        *,
        retry_failed: bool = False,
        force: bool = False,
        heal: bool = False,
        download: bool | None = None,
    ) -> StageContext:
        """What a stage is given for one run."""
        return StageContext(
            settings=self.settings,
            store=self.store,
            run_id=run_id,
            log=log,
            progress=self.watch.progress,
            stop=stop,
            retry_failed=retry_failed,
            force=force,
            heal=heal,
            download=download,
        )

    def identity(self, model: str) -> ModelIdentity:
        """The fingerprint the settings ask for. Raises ModelError when the model's files are not here."""
        return identity(self.store, model, self.settings.spaces[model], download=False)

    def identities(self) -> dict[str, ModelIdentity]:
        """The fingerprint of every model. Raises ModelError when the files of one are not here."""
        return {model: self.identity(model) for model in self.settings.spaces}

    def pool_limits(self) -> dict[str, int]:
        """Every pool that our assets use, and its limit by the settings."""
        pools = {GPU_POOL: self.settings.dagster.gpu_pool_limit or gpus()}
        return pools | {index_pool(model): 1 for model in self.settings.spaces} | {CATALOG_POOL: 1}


def gpus() -> int:
    """GPUs of this machine that this process may use, at least 1; asked without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(1, len([each for each in visible.split(",") if each.strip() not in ("", "-1")]))
    return max(1, sum(each.name.removeprefix("nvidia").isdecimal() for each in Path("/dev").glob("nvidia*")))

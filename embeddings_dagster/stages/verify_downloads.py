"""The pictures that catalogues led to, verified: each that lies in the cache is the one that came."""

from embeddings_dagster.settings import Settings
from embeddings_dagster.sources.downloads.record import FILE
from embeddings_dagster.sources.downloads.verify import damaged_downloads
from embeddings_dagster.stages.refresh import refreshable
from embeddings_dagster.store import Problem
from embeddings_dagster.store.verify import ALL

DATASET = "image_cache"
FETCH = "`embeddings verify --repair` deletes it: the picture is fetched again when it is next read"
FETCH_ALL = "restore it from a backup, or delete it: all pictures are then fetched again"


def download_problems(settings: Settings) -> list[Problem]:
    """The damaged downloads of every source of the settings."""
    return [
        Problem(DATASET, source, f"{DATASET}/{source}/{name}", *_told(name, reason))
        for source in refreshable(settings)
        for name, reason in damaged_downloads(settings.image_cache(source))
    ]


def _told(name: str, reason: str) -> tuple[str, str, str]:
    return (ALL, reason, FETCH_ALL) if name == FILE else ("1 picture", reason, FETCH)

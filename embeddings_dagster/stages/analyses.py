"""Every analysis that a store holds, for those who look after all of them."""

from collections.abc import Iterator

from embeddings_dagster.stages.analysis_files import ROOT, Analysis
from embeddings_dagster.stages.canaries import analysis_of
from embeddings_dagster.stages.duplicates import ASSET as DUPLICATES
from embeddings_dagster.stages.duplicates import duplicates_of
from embeddings_dagster.stages.embedding_map import ASSET as MAP
from embeddings_dagster.stages.embedding_map import map_of
from embeddings_dagster.store import Store, erase_generations

OF_PICTURES = (DUPLICATES, MAP)


def analyses(store: Store) -> Iterator[Analysis]:
    """Those that have been made, of models that nobody asks for any more, too."""
    if DUPLICATES in store.files.folders(ROOT):
        yield duplicates_of(store)
    for model in store.files.folders(f"{ROOT}/{MAP}"):
        yield map_of(store, model)
    for model in store.files.folders(f"{ROOT}/canaries"):
        for fp12 in store.files.folders(f"{ROOT}/canaries/{model}"):
            yield analysis_of(store, model, fp12)


def erase_pictures(store: Store) -> None:
    """Erase every analysis that names or shows pictures of the user; the next run makes them anew. Canaries stay."""
    for analysis in analyses(store):
        if analysis.name.partition("/")[0] in OF_PICTURES:
            erase_generations(store, analysis)

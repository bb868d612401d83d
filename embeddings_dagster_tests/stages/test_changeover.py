"""Another model in the settings, from its first batch to the switch, with real pictures and real models."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from embeddings_dagster.defs.resources import Project
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.search import SearchService
from embeddings_dagster.settings import load_settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages import looks as looks_module
from embeddings_dagster.stages import settling as settling_module
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.model_status import Changeover, model_statuses
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.switching import switch_when_ready

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "emoji"
BATCHES = ["pics__000001", "pics__000002", "pics__000003"]
OLD = ModelSettings(kind="dino", model="bundled:dino", device="cpu")
NEW = ModelSettings(kind="clip", model="bundled:clip", device="cpu")


class Line:
    """A project in the hands of one who changes the model called `look` in the settings."""

    def __init__(self, root: Path) -> None:
        self._file = root / "embeddings.yaml"
        self.use(OLD)

    def use(self, model: ModelSettings) -> None:
        """Write settings with this model, and open the project anew."""
        wanted = model.model_dump(include={"kind", "model", "device"})
        document = {"batch_images": 25, "sources": {"pics": {"kind": "folder", "path": "pics"}}}
        self._file.write_text(yaml.safe_dump({**document, "models": {"look": wanted}}))
        self.project = Project(load_settings(self._file))
        self.store, self.settings = self.project.store, self.project.settings
        self.context = StageContext(self.settings, self.store, "run")

    @property
    def identity(self) -> ModelIdentity:
        return self.project.identity("look")

    def pictures(self, *batches: str) -> None:
        """Take in what is in the folder."""
        discover(self.context, "pics", wait=True)
        for batch in batches:
            run_raw(self.context, batch)
            run_rgb(self.context, batch)

    def encode(self, batch: str) -> bool:
        """A batch, and the refresh of the index that follows; returns whether that switched."""
        run_embed(self.context, "look", self.settings.models["look"], self.project.engine, batch)
        refresh_index(self.context, "look")
        return switch_when_ready(self.context, "look").switched

    def changeover(self) -> Changeover | None:
        [wanted] = [each for each in model_statuses(self.store, self.settings, {"look": self.identity}) if each.wanted]
        return wanted.changeover


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    """75 pictures in three batches, encoded and indexed with the old model."""
    for module in (looks_module, settling_module):
        monkeypatch.setattr(module, "APART", timedelta(0))
    (tmp_path / "pics").mkdir()
    for file in [*sorted((SAMPLE / "food").glob("*.png"))[:40], *sorted((SAMPLE / "animals").glob("*.png"))[:35]]:
        shutil.copy2(file, tmp_path / "pics")
    made = Line(tmp_path)
    made.pictures(*BATCHES)
    for batch in BATCHES:
        made.encode(batch)
    return made


def answers(service: SearchService, picture: Path) -> tuple[str, str, int]:
    """The fingerprint that answers, its first hit, and how many there are in its index."""
    service.refresh()
    found = service.search(image=picture, k=3)
    return found.fingerprint, found.hits[0].image_id, found.rows


def test_the_old_one_serves_until_the_new_one_is_complete(line: Line, tmp_path: Path) -> None:
    old, picture = line.identity, tmp_path / "pics" / "banana.png"
    assert line.changeover() is None
    service = SearchService(line.settings, line.store)
    assert answers(service, picture) == (old.fingerprint, "pics:banana.png", 75)

    line.use(NEW)
    new, running = line.identity, SearchService(line.settings, line.store)
    seen = line.changeover()
    assert seen is not None
    assert (seen.serving, seen.held, seen.progress.complete, seen.progress.encoded) == (old.fingerprint, False, 0, 0)
    assert (seen.overlap, seen.no_overlap) == (None, "fewer than 50 pictures are in both yet")

    for done, batch in enumerate(BATCHES[:2], start=1):
        assert not line.encode(batch)
        seen = line.changeover()
        assert seen is not None
        assert (seen.progress.batches, seen.progress.complete, seen.progress.encoded) == (3, done, 25 * done)
        assert seen.progress.share == pytest.approx(done / 3)
        assert seen.progress.missing[0].startswith(f"{3 - done} of 3 batches not encoded yet")
        for each in (service, running):
            assert answers(each, picture) == (old.fingerprint, "pics:banana.png", 75)
    assert seen.overlap is not None
    assert (seen.overlap.queries, seen.overlap.rows, seen.overlap.batches) == (50, 50, 2)
    assert 10 / 49 < seen.overlap.mean < 1, "two models that both know pictures agree more than by chance"
    assert 0 <= seen.overlap.worst_decile <= seen.overlap.mean

    assert line.encode(BATCHES[2]), "the refresh after the last batch switches"
    assert line.changeover() is None
    assert answers(running, picture) == (new.fingerprint, "pics:banana.png", 75)
    assert running.search("banana", k=3).fingerprint == new.fingerprint, "and it knows words"


def test_pictures_that_come_while_it_is_built_are_waited_for(line: Line, tmp_path: Path) -> None:
    old = line.identity.fingerprint
    line.use(NEW)
    for batch in BATCHES[:2]:
        line.encode(batch)
    shutil.copy2(SAMPLE / "symbols" / "red-heart.png", tmp_path / "pics" / "zz.png")
    late = "pics__000004"
    line.pictures(late)
    assert not line.encode(BATCHES[2])
    seen = line.changeover()
    assert seen is not None
    assert (seen.serving, seen.progress.complete, seen.progress.batches) == (old, 3, 4)
    assert line.encode(late)
    assert line.changeover() is None

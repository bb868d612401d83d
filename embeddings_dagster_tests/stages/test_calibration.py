"""What int8 is calibrated on is chosen once and stays, whoever races, is killed, or loses a cache."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.encoders import identify, unload
from embeddings_dagster.encoders.int8 import LEAST, MOST
from embeddings_dagster.encoders.kept_model import is_whole
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.errors import CorruptFile, ModelError, ModelUnavailable, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.calibration import bring_here, calibrate, calibrations, folder, with_calibration
from embeddings_dagster.stages.calibration_sample import Place, draw, sample
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster.store.files_object import ObjectFiles
from embeddings_dagster_tests.encoders import tiny
from embeddings_dagster_tests.stages.library import BATCH as PAGES
from embeddings_dagster_tests.stages.library import Library
from embeddings_dagster_tests.stages.small_project import BATCH, SmallProject, opened_project, small_project

PICTURES = LEAST + 2


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    saved = tiny.save_dino(tmp_path_factory.mktemp("models") / "dino")
    return saved.model_copy(update={"precision": "int8"})


@pytest.fixture(autouse=True)
def _nothing_stays_loaded() -> Iterator[None]:
    yield
    unload()


def paint(project: SmallProject, count: int = PICTURES, first: int = 0) -> None:
    for number in range(first, first + count):
        tiny.picture(number).save(project.pics / f"n{number:03}.png")
    project.step("run")


@pytest.fixture
def painted(small: SmallProject) -> SmallProject:
    paint(small, PICTURES - 2)  # two are there already, and one that is no picture
    return small


def files_of(store: Store) -> list[str]:
    """The quantised models' files in the store, by their names."""
    here = [f"{versions.folder.removesuffix('/manifests')}/files" for versions in calibrations(store, "dino")]
    return [f"{each}/{name}" for each in here for name in store.files.names(each)]


def test_it_is_calibrated_once_and_stays_so_though_pictures_change(painted: SmallProject, dino: ModelSettings) -> None:
    assert with_calibration(painted.store, "dino", dino).calibrated is None
    first = calibrate(painted.context, "dino", dino, BATCH)
    assert first.calibrated is not None
    assert with_calibration(painted.store, "dino", dino) == first
    paint(painted, 3, first=500)
    assert calibrate(painted.context, "dino", dino, BATCH) == first
    assert len(files_of(painted.store)) == 2


def test_a_raised_number_calibrates_anew_and_the_old_one_is_found_again(
    painted: SmallProject, dino: ModelSettings
) -> None:
    first = calibrate(painted.context, "dino", dino, BATCH)
    raised = dino.model_copy(update={"calibration": 2})
    assert with_calibration(painted.store, "dino", raised).calibrated is None
    second = calibrate(painted.context, "dino", raised, BATCH)
    assert second.calibrated != first.calibrated
    assert identify(second).fingerprint != identify(first).fingerprint
    assert calibrate(painted.context, "dino", dino, BATCH) == first


def test_other_weights_are_calibrated_anew(painted: SmallProject, dino: ModelSettings, tmp_path: Path) -> None:
    calibrate(painted.context, "dino", dino, BATCH)
    other = tiny.save_dino(tmp_path / "other", seed=1).model_copy(update={"precision": "int8"})
    assert with_calibration(painted.store, "dino", other).calibrated is None


@pytest.mark.parametrize("change", [{"precision": "fp32"}, {"precision": "auto"}, {"side": "text"}])
def test_what_is_not_int8_is_left_as_it_is(painted: SmallProject, dino: ModelSettings, change: dict[str, str]) -> None:
    model = dino.model_copy(update=change)
    assert calibrate(painted.context, "dino", model, BATCH) == model
    assert with_calibration(painted.store, "dino", model) == model
    bring_here(painted.store, "dino", model)
    assert not painted.store.files.folders("models")


def test_too_few_pictures_are_refused_and_nothing_is_written(small: SmallProject, dino: ModelSettings) -> None:
    paint(small, LEAST - 3)
    with pytest.raises(ModelError, match=rf"there are {LEAST - 1} so far.*run again when there are more"):
        calibrate(small.context, "dino", dino, BATCH)
    assert not small.store.files.folders("models")
    paint(small, 1, first=700)
    assert calibrate(small.context, "dino", dino, BATCH).calibrated is not None


def test_a_stop_is_obeyed_and_leaves_nothing(painted: SmallProject, dino: ModelSettings) -> None:
    painted.context.stop.set()
    with pytest.raises(Stopped):
        calibrate(painted.context, "dino", dino, BATCH)
    assert not painted.store.files.folders("models")


def test_vectors_are_int8_and_the_cache_may_go_at_any_time(painted: SmallProject, dino: ModelSettings) -> None:
    context = painted.context
    engine = LocalEngine(context.store.cache)
    account = run_embed(context, "dino", dino, engine, BATCH)
    assert account.precisions == {"int8": PICTURES}
    unload()
    shutil.rmtree(context.store.cache)
    fresh = replace(context, store=Store.open(context.settings.data_root, context.settings.cache_root), force=True)
    again = run_embed(fresh, "dino", dino, engine, BATCH)
    assert (again.dataset, again.precisions) == (account.dataset, {"int8": PICTURES})
    assert len(files_of(fresh.store)) == 2


def test_threads_that_race_end_with_one_calibration(painted: SmallProject, dino: ModelSettings) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: calibrate(painted.context, "dino", dino, BATCH), range(2)))
    assert found[0] == found[1]
    assert len(files_of(painted.store)) == 2


def test_machines_that_race_end_with_one_calibration(painted: SmallProject, dino: ModelSettings) -> None:
    """Two stores on one root with caches of their own, so that no lock holds them back: while the first one is at it,
    the second does all of it."""
    root = painted.context.settings.data_root
    first, second = (
        replace(painted.context, store=Store.open(root, painted.root / f"cache{n}"), run_id=str(n)) for n in range(2)
    )
    won: list[ModelSettings] = []

    def begun(_: str) -> None:
        paint(painted, 1, first=800)  # so that it sees other pictures
        won.append(calibrate(second, "dino", dino, BATCH))

    lost = calibrate(replace(first, log=begun), "dino", dino, BATCH)
    assert [lost] == won
    assert len(files_of(painted.store)) == 2
    assert not list((first.store.cache / "int8").iterdir())
    for each in (first, second):
        bring_here(each.store, "dino", lost)
        kept = each.store.cache / "int8"
        assert [place.name for place in kept.iterdir()] == [lost.calibrated]
        assert is_whole(kept / str(lost.calibrated), lost.calibrated)


CALIBRATES = """
import sys
from pathlib import Path
import torch; torch.set_num_threads(1)
from embeddings_dagster.settings import settings_from
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.settings_yaml import Document
from embeddings_dagster.stages.calibration import calibrate
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.store import Store
made = settings_from(Document("embeddings.yaml", {"sources": {"pics": {"kind": "folder", "path": "pics"}}}, {}),
                     root=Path(sys.argv[1]))
context = StageContext(made, Store.open(made.data_root, made.cache_root), "killed")
calibrate(context, "dino", ModelSettings(kind="dino", model=sys.argv[2], precision="int8"), sys.argv[3])
"""


@pytest.mark.parametrize(
    "step",
    [*(pytest.param(each, marks=pytest.mark.torture) for each in ("write:temporary", "create:temporary:3")),
     "write:published:2"],
)  # fmt: skip
def test_a_killed_process_leaves_nothing_that_is_used(painted: SmallProject, dino: ModelSettings, step: str) -> None:
    environment = {**os.environ, "EMBEDDINGS_KILL_AT": step, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CALIBRATES, str(painted.root), dino.model, BATCH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert with_calibration(painted.store, "dino", dino).calibrated is None
    assert verify(painted.store) == []
    model = calibrate(painted.context, "dino", dino, BATCH)
    bring_here(painted.store, "dino", model)
    assert verify(painted.store) == []


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, dino: ModelSettings) -> tuple[Path, ModelSettings]:
    project = small_project(tmp_path_factory.mktemp("calibrated"))
    paint(project, PICTURES - 2)
    return project.root, calibrate(project.context, "dino", dino, BATCH)


class TestDamage:
    """Of a project that was calibrated once, and is copied for each test."""

    @pytest.fixture
    def painted(self, calibrated: tuple[Path, ModelSettings], tmp_path: Path, _hasty: None) -> SmallProject:
        root = tmp_path / "project"
        shutil.copytree(calibrated[0], root)
        return opened_project(root)

    @pytest.fixture
    def model(self, calibrated: tuple[Path, ModelSettings]) -> ModelSettings:
        return calibrated[1]

    def test_verify_finds_a_changed_byte(self, painted: SmallProject, model: ModelSettings) -> None:
        assert verify(painted.store) == []
        for path in files_of(painted.store):
            file = painted.store.files.local(path)
            assert file is not None
            data = file.read_bytes()
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            (problem,) = verify(painted.store)
            assert (problem.dataset, problem.batch, problem.file) == ("models", "dino", path)
            assert "raise `calibration`" in problem.remedy
            file.write_bytes(data)

    def test_verify_finds_what_is_missing(self, painted: SmallProject, model: ModelSettings) -> None:
        files = files_of(painted.store)
        for path in files:
            painted.store.files.delete(path)
        assert sorted(problem.file for problem in verify(painted.store)) == files

    def test_damaged_files_are_not_brought_here(self, painted: SmallProject, model: ModelSettings) -> None:
        shutil.rmtree(painted.store.cache / "int8")
        file = painted.store.files.local(next(each for each in files_of(painted.store) if each.endswith(".bin")))
        assert file is not None
        file.write_bytes(b"x" + file.read_bytes()[1:])
        with pytest.raises(CorruptFile, match="embeddings verify"):
            bring_here(painted.store, "dino", model)
        assert not list((painted.store.cache / "int8").iterdir())

    def test_a_calibration_that_is_not_in_the_store_is_named(self, painted: SmallProject, model: ModelSettings) -> None:
        lost = model.model_copy(update={"calibrated": "b" * 64})
        with pytest.raises(
            ModelUnavailable, match=r"bbbbbbbbbbbb of the model 'dino' is not in the project's data.*raise"
        ):
            bring_here(painted.store, "dino", lost)

    def test_a_damaged_record_is_an_error_and_is_found(self, painted: SmallProject, model: ModelSettings) -> None:
        (versions,) = calibrations(painted.store, "dino")
        file = painted.store.files.local(versions.path(1))
        assert file is not None
        file.write_bytes(file.read_bytes().replace(b"dino", b"dina"))
        with pytest.raises(CorruptFile):
            with_calibration(painted.store, "dino", model.model_copy(update={"calibrated": None}))
        (problem,) = verify(painted.store)
        assert (problem.dataset, problem.batch) == ("models", "dino")


def test_a_store_at_a_url_is_as_good(painted: SmallProject, dino: ModelSettings) -> None:
    context = painted.context
    url = f"memory://calibration-{os.getpid()}"
    store = Store(ObjectFiles(url, painted.root / "uploads"), painted.root / "far")
    far = replace(context, store=store)
    try:
        discover(far, "pics", wait=True, allow_removals=True)
        run_raw(far, BATCH)
        run_rgb(far, BATCH)
        model = calibrate(far, "dino", dino, BATCH)
        shutil.rmtree(store.cache / "int8")
        bring_here(store, "dino", model)
        assert is_whole(store.cache / "int8" / str(model.calibrated), model.calibrated)
        assert verify(store) == []
        assert store.files.folders("models/dino") == [folder("dino").rsplit("/", 1)[1]]
    finally:
        store.files.delete_folder("")


class TestSample:
    def test_of_more_pictures_than_wanted_some_are_drawn_without_regard_to_their_names(
        self, painted: SmallProject
    ) -> None:
        drawn = sample(painted.store, BATCH, 5)
        ((_, _, keys),) = drawn.parts
        assert len(keys) == 5
        again = sample(painted.store, BATCH, 5)
        assert (again.parts[0][2], again.digest) == (keys, drawn.digest)
        assert [len(unit.regions) for unit in drawn.units()] == [1] * 5
        assert drawn.digest != sample(painted.store, BATCH, 6).digest

    def test_a_page_and_its_panels_are_pictures_of_their_own(self, library: Library) -> None:
        for number in range(3):
            library.picture(f"p{number}.png")
            Image.new("RGB", (60, 90), (number * 40, 10, 10)).save(library.root / "pages" / f"p{number}.png")
            library.spec(f"p{number}", {"panel_coords": [0, 0, 20, 20]}, {"panel_coords": [30, 30, 20, 20]})
        library.run()
        everything = sample(library.context.store, PAGES, MOST)
        assert sorted(len(unit.regions) for unit in everything.units()) == [3, 3, 3]
        some = list(sample(library.context.store, PAGES, 4).units())
        assert sum(len(unit.regions) for unit in some) == 4
        assert all(unit.data for unit in some)

    @given(st.dictionaries(st.integers(0, 200), st.integers(0, 60), max_size=80), st.integers(1, 90), st.randoms())
    def test_none_is_drawn_twice_and_the_order_does_not_matter(self, hashes: dict[int, int], most: int, random) -> None:  # type: ignore[no-untyped-def]
        there: dict[Place, str] = {
            ("b", Key(f"pics:{name}", 0)): hashlib.sha256(bytes([value])).hexdigest() for name, value in hashes.items()
        }
        drawn = draw(there, most)
        assert len(drawn) == min(most, len(set(there.values())))
        assert len(set(drawn.values())) == len(drawn)
        assert all(there[place] == value for place, value in drawn.items())
        shuffled = list(there.items())
        random.shuffle(shuffled)
        assert draw(dict(shuffled), most) == drawn
        if most > 1:
            assert drawn.items() >= draw(there, most - 1).items()

"""From pictures to answers with the bundled models: text, picture and id, through the one decoder and encoder."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embeddings_dagster.encoders import Region, Unit, encode_units, identify, load
from embeddings_dagster.errors import BadQuery, ImageError, ModelError
from embeddings_dagster.images import decode, to_rgb
from embeddings_dagster.search import SearchService
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.opened import decode_rules
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import embeddings


def picture(shape: str, colour: str) -> bytes:
    """A PNG with transparency."""
    image = Image.new("RGBA", (96, 96), (255, 0, 255, 0))
    draw = ImageDraw.Draw(image)
    getattr(draw, shape)((16, 16, 80, 80), fill=colour)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = {
    f"art:{colour}-{shape}.png": picture(shape, colour)
    for shape in ("ellipse", "rectangle")
    for colour in ("red", "green", "blue")
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> SearchService:
    """A service over six pictures, encoded as the stages do it."""
    folder = tmp_path_factory.mktemp("pictures")
    settings = Settings(data=str(folder / "data"), cache=str(folder / "cache"))
    context = StageContext(settings, Store.open(settings.data_root, settings.cache_root), "run")
    for name, model in settings.models.items():
        _encode(context, name, model)
        refresh_index(context, name)
    return SearchService(settings, context.store)


def _encode(context: StageContext, name: str, model: ModelSettings) -> None:
    rules, identity = decode_rules(context.settings), identify(model)
    whole = (Region(0, None, None, "h"),)
    units = [Unit(image_id, to_rgb(data, rules).data, whole) for image_id, data in PICTURES.items()]
    chain = context.store.chain(dataset(name, identity), "art__1")
    writer = chain.writer(embeddings(identity.dimension), run_id="run", label={"fingerprint": identity.fingerprint})
    for each in encode_units(load(model), units, lambda data: decode(data, rules), batch_size=4, threads=1):
        assert each.vectors is not None
        row = {"image_id": each.unit.image_id, "region": 0, "input_hash": "h", "embedding": each.vectors[0]}
        writer.add([{**row, "norm": 1.0, "precision": "fp32", "run_id": "run"}])
    writer.finish(inputs={}, total=len(PICTURES))


@pytest.mark.parametrize("model", ["clip", "dino"])
@pytest.mark.parametrize("image_id", ["art:red-ellipse.png", "art:blue-rectangle.png"])
def test_a_picture_finds_itself_with_score_one(
    service: SearchService, tmp_path: Path, model: str, image_id: str
) -> None:
    path = tmp_path / "query.png"
    path.write_bytes(PICTURES[image_id])
    for image in (path, str(path), PICTURES[image_id]):
        first = service.search(image=image, model=model, k=1).hits[0]
        assert first.image_id == image_id
        assert first.score == pytest.approx(1, abs=1e-5)


def test_words_are_answered_by_clip_and_come_as_unit_vectors(service: SearchService) -> None:
    found = service.search("a red circle", k=6)
    assert found.model == "clip"
    assert len(found.hits) == 6
    assert all(-1.00001 <= hit.score <= 1.00001 for hit in found.hits)
    assert found.hits[0].score > found.hits[-1].score


def test_words_are_refused_by_a_model_that_knows_none(service: SearchService) -> None:
    with pytest.raises(ModelError, match=r"knows pictures only, no text"):
        service.search("red", model="dino")


def test_words_are_skipped_by_the_one_of_several_models_that_knows_none(service: SearchService) -> None:
    image_id, weights = "art:red-ellipse.png", {"clip": 0.5, "dino": 0.5}
    both = service.search("a red circle", image=PICTURES[image_id], weights=weights).hits[0]
    words = {hit.image_id: hit.score for hit in service.search("a red circle").hits}
    clip, dino = both.scores
    assert both.image_id == image_id
    assert dino.score == pytest.approx(1, abs=1e-5), "the picture alone"
    assert clip.score == pytest.approx((1 + words[image_id]) / 2, abs=1e-5), "the mean of picture and words"
    assert both.score == pytest.approx((clip.score + dino.score) / 2, abs=1e-5)
    with pytest.raises(BadQuery, match="model 'dino' understands nothing of what is looked for"):
        service.search("a red circle", weights=weights)


def test_what_is_not_wanted_lowers_the_score_by_a_fifth_of_its_own(service: SearchService) -> None:
    cats, lions = ({hit.image_id: hit.score for hit in service.search(text).hits} for text in ("a circle", "red"))
    for hit in service.search("a circle", unlike="red").hits:
        assert hit.score == pytest.approx(cats[hit.image_id] - 0.2 * lions[hit.image_id], abs=1e-5)


def test_the_id_and_the_picture_give_the_same_neighbours(service: SearchService) -> None:
    image_id = "art:green-ellipse.png"
    by_id = service.search(image_id=image_id, k=5).hits
    by_picture = service.search(image=PICTURES[image_id], k=6).hits[1:]
    assert [hit.image_id for hit in by_id] == [hit.image_id for hit in by_picture]
    assert np.allclose([hit.score for hit in by_id], [hit.score for hit in by_picture], atol=1e-5)


def test_a_picture_that_cannot_be_decoded_is_named(service: SearchService, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(PICTURES["art:red-ellipse.png"][:60])
    with pytest.raises(ImageError, match=r"picture .*broken\.png: "):
        service.search(image=path)

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings_dagster.encoders import Encoded, Unit, encode_units, identify, load
from embeddings_dagster.errors import ModelError, ModelUnavailable, NotFinite, TooManyRegions
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders import own
from embeddings_dagster_tests.encoders.tiny import cosines


def encoded(model: ModelSettings, units: Sequence[Unit], **options: Any) -> list[Encoded]:
    return list(encode_units(load(model), units, own.decode, **{"batch_size": 4, "threads": 2, **options}))


def changed(model: ModelSettings, **network: Any) -> ModelSettings:
    assert model.network is not None
    return model.model_copy(update={"network": model.network.model_copy(update=network)})


def test_pages_come_out_as_the_network_gives_them(tmp_path: Path) -> None:
    model = own.save(tmp_path, normalised=False)
    pages = [own.page(f"page {n}", panels) for n, panels in enumerate([3, 0, 1, 20, 7])]
    found = encoded(model, pages)
    for page, each in zip(pages, found, strict=True):
        assert each.vectors is not None
        assert each.vectors.shape == (len(page.regions), 384)
        assert each.vectors.dtype == np.float32
        assert each.precision == "fp32"
        np.testing.assert_allclose(each.vectors, own.expected(model, page), rtol=1e-5, atol=1e-4)
    lengths = np.concatenate([np.linalg.norm(each.vectors, axis=1) for each in found if each.vectors is not None])
    assert (abs(lengths - 1) > 0.1).all()


def test_a_box_beyond_the_page_is_clamped_to_it(tmp_path: Path) -> None:
    model = own.save(tmp_path, normalised=False)
    page = own.page("page", 12, size=(40, 50))
    (found,) = encoded(model, [page])
    np.testing.assert_allclose(found.vectors, own.expected(model, page), rtol=1e-5, atol=1e-4)


def test_batches_and_neighbours_change_nothing(tmp_path: Path) -> None:
    model = own.save(tmp_path)
    pages = [own.page(f"page {n}", n) for n in range(6)]
    together, alone = encoded(model, pages, batch_size=50), [encoded(model, [page], batch_size=1)[0] for page in pages]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.vectors, other.vectors)
        assert np.linalg.norm(one.vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_panels_beyond_the_limit_are_left_out_one_by_one(tmp_path: Path) -> None:
    model = own.save(tmp_path, max_regions=13, normalised=False)
    page = own.page("page", 15)
    (found,) = encoded(model, [page])
    assert found.vectors is not None
    assert found.vectors.shape == (13, 384)
    assert {number: type(error) for number, error in found.left_out.items()} == dict.fromkeys(
        (13, 14, 15), TooManyRegions
    )
    first = Unit(page.image_id, page.data, page.regions[:13])
    np.testing.assert_allclose(found.vectors, own.expected(model, first), rtol=1e-5, atol=1e-4)


def test_regions_alone_are_pictures_like_others(tmp_path: Path) -> None:
    model = own.save(tmp_path, "Alone", mean=(0.5, 0.5, 0.5), std=(0.2, 0.3, 0.4))
    page = own.page("page", 5)
    (found,) = encoded(model, [page], batch_size=2)
    (whole,) = encoded(model, [Unit("page", page.data, page.regions[:1])])
    assert found.vectors is not None
    assert whole.vectors is not None
    assert found.vectors.shape == (6, 384)
    np.testing.assert_allclose(found.vectors[0], whole.vectors[0], atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["Pages", "Alone"])
def test_other_precisions_stay_near_and_texts_stay_exact(tmp_path: Path, precision: str, name: str) -> None:
    model = own.save(tmp_path, name, text=name == "Pages")
    other = model.model_copy(update={"precision": precision})
    assert load(other).precision == precision
    (exact,), (near,) = (encoded(each, [own.page("page", 4)]) for each in (model, other))
    assert near.vectors is not None
    assert near.vectors.dtype == np.float32
    assert cosines(exact.vectors, near.vectors).min() > 0.999
    if name == "Pages":
        assert np.array_equal(load(model).encode_text(["abc"]), load(other).encode_text(["abc"]))


def test_texts_get_vectors_of_length_1(tmp_path: Path) -> None:
    encoder = load(own.save(tmp_path, text=True, normalised=False))
    found = encoder.encode_text(["a" * n for n in range(100)])
    assert found.shape == (100, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(found, encoder.encode_long_text(["a" * n for n in range(100)]))
    assert encoder.encode_text([]).shape == (0, 384)


def test_a_network_without_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="knows pictures only, no text"):
        load(own.save(tmp_path)).encode_text(["a"])
    with pytest.raises(ModelError, match=r"`network.text` is true, and '.*:Alone' has no method encode_text"):
        load(own.save(tmp_path / "alone", "Alone", text=True))


@pytest.mark.parametrize(
    ("fault", "gave"),
    [
        ("tuple", "a tuple"),
        ("short", r"a tensor of shape \(1, 383\)"),
        ("more", r"a tensor of shape \(1, 1, 384\)"),
        ("whole", "a tensor of torch.int32"),
        ("none", "a NoneType"),
    ],
)
def test_what_a_network_should_not_give_is_told(tmp_path: Path, fault: str, gave: str) -> None:
    model = own.save(tmp_path, "Alone", arguments={"fault": fault})
    message = (
        rf"gave {gave} for 1 rows of \(pixels\), and is to give a tensor of floats of shape \(1, 384\); correct its"
    )
    with pytest.raises(ModelError, match=message):
        encoded(model, [own.page("page", 0)])


def test_a_vector_that_is_not_finite_costs_its_image(tmp_path: Path) -> None:
    import io

    from PIL import Image

    black = io.BytesIO()
    Image.new("RGB", (9, 9)).save(black, "PNG")
    model = own.save(tmp_path, "Alone", arguments={"fault": "nan"})
    pages = [own.page("a", 0), Unit("black", black.getvalue(), own.page("b", 0).regions), own.page("c", 0)]
    found = encoded(model, pages)
    assert [type(each.error) for each in found] == [type(None), NotFinite, type(None)]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("NoModule", {}, r"gives a NoModule, and is to give a torch.nn.Module"),
        ("fails", {"width": 7}, r"cannot be made with width \(ValueError: no width 7, networks.py line \d+\)"),
        ("Alone", {"depth": 7}, r"cannot be made with depth \(TypeError: .*unexpected keyword argument 'depth'"),
        ("Nothing", {}, r"there is no 'Nothing' in it; it has Alone, NoModule, Pages"),
        ("Alone", {"width": 5}, r"2 of another shape \(picture.weight: \(384, 3\) for \(5, 3\)"),
        ("Pages", {}, r"2 missing \(place.weight, place.bias\)"),
    ],
)
def test_a_network_that_cannot_be_made_is_told(tmp_path: Path, name: str, arguments: Any, said: str) -> None:
    model = changed(own.save(tmp_path, "Alone"), architecture=f"{tmp_path / 'networks.py'}:{name}", arguments=arguments)
    with pytest.raises(ModelError, match=said):
        load(model)


def test_a_function_may_make_it(tmp_path: Path) -> None:
    (found,) = encoded(own.save(tmp_path, "make", arguments={"width": 8}, dimension=8), [own.page("page", 2)])
    assert found.vectors is not None
    assert found.vectors.shape == (3, 8)


def test_weights_that_are_not_there_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    model = own.save(tmp_path).model_copy(update={"model": str(tmp_path / "gone.pth")})
    with pytest.raises(ModelUnavailable, match=r"gone.pth' are not there; correct `model`, which names a file"):
        identify(model)


def test_its_identity_is_told_by_its_settings(tmp_path: Path) -> None:
    found = identify(own.save(tmp_path, normalised=False))
    assert (found.model, found.dimension, found.inputs, found.normalised) == ("custom", 384, "images", False)
    alone = identify(own.save(tmp_path, "Alone"))
    assert (alone.inputs, alone.normalised) == ("regions", True)


def test_where_it_lies_and_what_files_are_called_changes_no_fingerprint(tmp_path: Path) -> None:
    model = own.save(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b/networks.py").rename(tmp_path / "b/page_net.py")
    (tmp_path / "b/weights.pth").rename(tmp_path / "b/best.pth")
    moved = changed(model, architecture=f"{tmp_path / 'b/page_net.py'}:Pages")
    moved = moved.model_copy(update={"model": str(tmp_path / "b/best.pth")})
    assert identify(moved).fingerprint == identify(model).fingerprint
    elsewhere = moved.model_copy(update={"device": "cuda", "batch_size": 7, "streams": 3, "precision": "bf16"})
    assert identify(elsewhere).fingerprint == identify(model).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"width": 384}},
        {"image_size": 33},
        {"resize": "pad"},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"regions": "alone"},
        {"normalised": False},
        {"max_regions": 5},
    ],
)
def test_what_decides_a_vector_changes_the_fingerprint(tmp_path: Path, change: Any) -> None:
    model = own.save(tmp_path)
    assert identify(changed(model, **change)).fingerprint != identify(model).fingerprint


def test_code_and_weights_change_the_fingerprint_and_are_loaded_anew(tmp_path: Path) -> None:
    model = own.save(tmp_path)
    before, encoder = identify(model).fingerprint, load(model)
    assert load(model) is encoder
    (tmp_path / "networks.py").write_text(own.PAGES.replace("rows[1:].mean(0)", "rows[1:].sum(0)"))
    assert identify(model).fingerprint != before
    assert load(model) is not encoder
    (found,) = encoded(changed(model, normalised=False), [page := own.page("page", 3)])
    np.testing.assert_allclose(found.vectors, own.expected(model, page), rtol=1e-5, atol=1e-4)


def test_what_does_not_matter_to_a_network_of_its_kind_changes_nothing(tmp_path: Path) -> None:
    model = own.save(tmp_path, "Alone")
    assert identify(changed(model, max_regions=5)).fingerprint == identify(model).fingerprint


STATEFUL = """
import threading
import torch
from torch import nn


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, pixels):
        self.kept = pixels.mean((2, 3))
        torch.ones(300, 300) @ torch.ones(300, 300)
        return self.linear(self.kept)
"""


def test_a_network_that_keeps_state_is_in_one_call_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "stateful.py").write_text(STATEFUL)
    import torch

    torch.save({"linear.weight": torch.eye(4)[:, :3], "linear.bias": torch.zeros(4)}, tmp_path / "w.pth")
    network = {"architecture": f"{tmp_path / 'stateful.py'}:Stateful", "dimension": 4, "image_size": 2}
    model = ModelSettings.model_validate(
        {"kind": "custom", "model": str(tmp_path / "w.pth"), "network": {**network, "normalised": False}}
    )
    pages = [own.page(f"page {n}", 0) for n in range(8)]
    alone = [each.vectors for each in encoded(model, pages, batch_size=1)]
    start = threading.Barrier(4)

    def turn(_: int) -> bool:
        start.wait(timeout=30)
        return all(
            np.array_equal(a, b.vectors) for a, b in zip(alone, encoded(model, pages, batch_size=1), strict=True)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(turn, range(4)))


def test_with_streams_several_calls_run_at_once(tmp_path: Path) -> None:
    model = own.save(tmp_path, normalised=False)
    pages = [own.page(f"page {n}", n % 4) for n in range(12)]
    one, two = (encoded(model.model_copy(update={"streams": n}), pages, batch_size=1) for n in (1, 2))
    assert [each.unit.image_id for each in two] == [page.image_id for page in pages]
    assert all(np.array_equal(a.vectors, b.vectors) for a, b in zip(one, two, strict=True))


def test_a_closed_one_says_so(tmp_path: Path) -> None:
    encoder = load(own.save(tmp_path))
    encoder.close()
    with pytest.raises(ModelError, match="has been closed; load it again"):
        list(encode_units(encoder, [own.page("page", 1)], own.decode, batch_size=1, threads=1))

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings_dagster.encoders.checkpoint import load_weights
from embeddings_dagster.errors import ModelError, ModelUnavailable


def network(wide: int = 3, *, more: bool = False) -> Any:
    import torch

    torch.manual_seed(wide)
    layers = OrderedDict(first=torch.nn.Linear(2, wide), norm=torch.nn.BatchNorm1d(wide))
    if more:
        layers["second"] = torch.nn.Linear(wide, wide)
    return torch.nn.Sequential(layers)


def saved(path: Path, content: Any, **options: Any) -> Path:
    import torch

    torch.save(content, path, **options)
    return path


def loaded(path: Path, **shape: Any) -> dict[str, Any]:
    """The weights of a network that began with none of them."""
    import torch

    net = network(**shape)
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, -9)
    load_weights(path, net, "page")
    return dict(net.state_dict())


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    import torch

    return list(found) == list(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("under", ["model_state_dict", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_are_found_where_training_loops_put_them(tmp_path: Path, under: str | None, prefix: str) -> None:
    weights = network().state_dict()
    named = {prefix + key: value for key, value in weights.items()}
    content = {"epoch": 3, under: named, "optimizer_state_dict": {"state": {}}} if under else named
    assert same(loaded(saved(tmp_path / "page.pth", content)), weights)


def test_safetensors_and_the_old_format_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = network().state_dict()
    save_file({f"module.{key}": value for key, value in weights.items()}, tmp_path / "page.safetensors")
    assert same(loaded(tmp_path / "page.safetensors"), weights)
    old = saved(tmp_path / "page.pt", {"state_dict": weights}, _use_new_zipfile_serialization=False)
    assert same(loaded(old), weights)


def test_half_precision_is_read_into_float32(tmp_path: Path) -> None:
    import torch

    half = network().half().state_dict()
    found = loaded(saved(tmp_path / "page.pth", half))
    assert found["first.weight"].dtype == torch.float32
    assert torch.equal(found["first.weight"], half["first.weight"].float())


def test_a_prefix_that_not_every_name_has_is_part_of_the_names(tmp_path: Path) -> None:
    weights = dict(network().state_dict())
    weights["module.first.weight"] = weights.pop("first.weight")
    with pytest.raises(ModelError, match=r"1 missing \(first.weight\); 1 unexpected \(module.first.weight\)"):
        loaded(saved(tmp_path / "page.pth", weights))


def test_a_prefix_that_the_network_has_itself_stays(tmp_path: Path) -> None:
    import torch

    inner, net = network(), torch.nn.Module()
    net.module = inner
    path = saved(tmp_path / "page.pth", net.state_dict())
    load_weights(path, net, "page")
    load_weights(saved(tmp_path / "parallel.pth", {f"module.{k}": v for k, v in net.state_dict().items()}), net, "page")


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'page': 2 missing \(second.weight, second.bias\). Correct `network.arch"):
        loaded(saved(tmp_path / "less.pth", network().state_dict()), more=True)
    with pytest.raises(ModelError, match=r"'page': 2 unexpected \(second.weight, second.bias\)"):
        loaded(saved(tmp_path / "more.pth", network(more=True).state_dict()))


def test_of_many_the_first_are_named_and_all_are_counted(tmp_path: Path) -> None:
    weights = {f"layer{n}": value for n, value in enumerate(list(network().state_dict().values()) * 2)}
    with pytest.raises(ModelError, match=r"14 unexpected \(layer0, layer1, layer2, layer3, layer4 and 9 more\)"):
        loaded(saved(tmp_path / "page.pth", weights))


def test_other_shapes_are_named_with_what_is_missing(tmp_path: Path) -> None:
    weights = dict(network(wide=4).state_dict())
    del weights["norm.running_mean"]
    message = r"1 missing \(norm.running_mean\); 5 of another shape \(first.weight: \(4, 2\) for \(3, 2\), .*"
    with pytest.raises(ModelError, match=message):
        loaded(saved(tmp_path / "page.pth", weights))


def test_a_tensor_of_two_names_may_be_there_under_one(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_model

    net = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    save_model(net, str(tmp_path / "tied.safetensors"))
    load_weights(tmp_path / "tied.safetensors", net, "page")


class Harmful:
    """What a pickle can do to who reads it."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.sign),)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "page.pth"
    content = {"model_state_dict": network().state_dict(), "config": Harmful(tmp_path / "was-here")}
    saved(path, content, _use_new_zipfile_serialization=new)
    with pytest.raises(
        ModelError, match=r"holds more than weights \(.*mkdir\): .* refused; in the program that made it"
    ):
        loaded(path)
    assert not (tmp_path / "was-here").exists()


def test_a_bare_pickle_does_not_run_either(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "was-here"), protocol=2))
    with pytest.raises(ModelError, match=r"page\.pth"):
        loaded(tmp_path / "page.pth")
    assert not (tmp_path / "was-here").exists()


def test_a_whole_network_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"torch.nn.modules.container.Sequential.*torch.save\({'model_state_dict': net"
    ):
        loaded(saved(tmp_path / "page.pth", network()))


def test_what_training_loops_note_beside_the_weights_does_no_harm(tmp_path: Path) -> None:
    notes = {"best_loss": np.float64(0.25), "steps": np.int64(7), "args": argparse.Namespace(lr=1e-3, name="x")}
    weights = network().state_dict()
    assert same(loaded(saved(tmp_path / "page.pth", {**notes, "model_state_dict": weights})), weights)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am a text file\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        b"\x80\x02",
        b"PK",
    ],
)
def test_a_file_that_is_no_checkpoint_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"page.pth' (is no|cannot be read as a) checkpoint.*; copy it again"):
        loaded(tmp_path / "page.pth")


def test_a_checkpoint_cut_short_is_told(tmp_path: Path) -> None:
    whole = saved(tmp_path / "page.pth", network().state_dict()).read_bytes()
    (tmp_path / "page.pth").write_bytes(whole[:-200])
    with pytest.raises(ModelError, match=r"page.pth' (is no|cannot be read as a) checkpoint.*; copy it again"):
        loaded(tmp_path / "page.pth")
    (tmp_path / "page.safetensors").write_bytes(whole)
    with pytest.raises(ModelError, match=r"page.safetensors' is not a whole safetensors file"):
        loaded(tmp_path / "page.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list, not weights by name"),
        (
            {"epoch": 3, "weights": {}},
            r"no weights under model_state_dict \| state_dict \| model, .* it has epoch, weights",
        ),
        ({}, "it has nothing"),
    ],
)
def test_a_checkpoint_without_weights_is_told(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        loaded(saved(tmp_path / "page.pth", content))


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"gone.pth' of the model 'page' are not there; correct `model`"):
        loaded(tmp_path / "gone.pth")

"""Networks as users write them, in files; and what their pages would have to come out as."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embeddings_dagster.encoders import Region, Unit
from embeddings_dagster.images.regions import Box
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.encoders.tiny import picture

PAGES = '''
import torch
from torch import nn


class Pages(nn.Module):
    """The page's vector is its own and the mean of its panels'; each panel's says where it lies and what it says."""

    def __init__(self, width=384):
        super().__init__()
        self.picture = nn.Linear(3, width)
        self.place = nn.Linear(5, width)

    def forward(self, pixels, boxes, texts):
        lengths = boxes.new_tensor([[len(text or "")] for text in texts])
        rows = self.picture(pixels.mean((2, 3))) + self.place(torch.cat([boxes, lengths], 1))
        if len(rows) > 1:
            rows[0] += rows[1:].mean(0)
        return rows

    def encode_text(self, texts):
        return self.picture(torch.tensor([[len(text), 1.0, 2.0] for text in texts]))


class Alone(nn.Module):
    def __init__(self, width=384, fault=""):
        super().__init__()
        self.picture = nn.Linear(3, width)
        self.fault = fault

    def forward(self, pixels):
        rows = self.picture(pixels.mean((2, 3)))
        faults = {
            "": rows, "tuple": (rows,), "short": rows[:, :-1], "more": rows[None], "whole": rows.int(), "none": None,
            "nan": torch.where(pixels.mean((1, 2, 3))[:, None] == 0, torch.nan, rows),
        }
        return faults[self.fault]


class NoModule:
    pass


def make(width):
    return Alone(width)


def fails(width):
    raise ValueError(f"no width {width}")
'''


def save(folder: Path, name: str = "Pages", *, save_as: str = "", **network: Any) -> ModelSettings:
    """The network `name` with random weights, in `folder`."""
    import torch

    from embeddings_dagster.encoders.import_path import load_object

    folder.mkdir(exist_ok=True)
    (folder / "networks.py").write_text(PAGES)
    kind = load_object(f"{folder / 'networks.py'}:{save_as or name}")
    torch.manual_seed(0)
    arguments = network.get("arguments", {})
    torch.save({"model_state_dict": kind(**arguments).state_dict(), "epoch": 3}, folder / "weights.pth")
    defaults = {"dimension": 384, "image_size": 32, "regions": "together" if name == "Pages" else "alone"}
    settings = {"architecture": f"{folder / 'networks.py'}:{name}", **defaults, **network}
    return ModelSettings.model_validate({"kind": "custom", "model": str(folder / "weights.pth"), "network": settings})


def page(name: str, panels: int, size: tuple[int, int] = (90, 120)) -> Unit:
    """A page of smooth colours, as a PNG, its panels side by side, every second of them with text."""
    data = io.BytesIO()
    picture(sum(map(ord, name)), size).save(data, "PNG")
    boxes = [None, *(Box(3 * n, 2 * n, 20, 30 + n) for n in range(panels))]
    regions = [Region(n, box, "x" * n if n % 2 else None, f"{name}/{n}") for n, box in enumerate(boxes)]
    return Unit(name, data.getvalue(), tuple(regions))


def decode(data: bytes, *, at_least: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def expected(model: ModelSettings, unit: Unit) -> Any:
    """The vectors of a page by the network itself, called by hand."""
    import torch

    from embeddings_dagster.encoders.import_path import load_object

    assert model.network is not None
    network = load_object(model.network.architecture)(**model.network.arguments)
    network.load_state_dict(torch.load(model.model, weights_only=True)["model_state_dict"])
    image, side = decode(unit.data), model.network.image_size
    boxes = [region.box or Box(0, 0, *image.size) for region in unit.regions]
    inside = [(x, y, min(x + w, image.width), min(y + h, image.height)) for x, y, w, h in boxes]
    parts = [image.crop(each).resize((side, side), Image.Resampling.BICUBIC) for each in inside]
    pixels = torch.from_numpy(np.stack([np.asarray(part) for part in parts])).permute(0, 3, 1, 2) / 255
    places = torch.tensor([(left, top, right - left, bottom - top) for left, top, right, bottom in inside]).float()
    with torch.no_grad():
        return network.eval()(pixels, places, [region.text for region in unit.regions]).numpy()

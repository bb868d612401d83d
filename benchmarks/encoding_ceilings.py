"""What the machine could do at best, measured beside everything else: matrices, the decoder alone, the model alone."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from encoding_clock import Figures, measured
from encoding_project import PICTURES, Opened

Spec = dict[str, Any]
SIDE = 2048  # of the matrices: larger ones are no faster
SECONDS = 2.0
BATCHES = 64


def gemm(spec: Spec) -> Figures:
    """Floating point operations a second in the product of two large matrices, on the threads that torch takes."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[spec["precision"]]
    left, right = (torch.rand(SIDE, SIDE).to(spec["device"], dtype) for _ in range(2))
    out = torch.empty_like(left)
    torch.mm(left, right, out=out)
    wait = _wait(spec["device"])
    figures: Figures = {"threads": torch.get_num_threads()}
    times = 0
    with torch.inference_mode(), measured(figures):
        started = time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            torch.mm(left, right, out=out)
            wait()
            times += 1
    return {**figures, "operations": 2 * SIDE**3 * times}


def operations(spec: Spec) -> Figures:
    """Of the network for one picture: two for each product, in all products of matrices, attention's among them."""
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    model = transformers.AutoModel.from_pretrained(spec["model"], dtype=torch.float32, attn_implementation="eager")
    size = transformers.AutoImageProcessor.from_pretrained(spec["model"]).crop_size
    pixels = torch.zeros(1, 3, size["height"], size["width"])
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        _features(model.eval(), pixels)
    return {"operations": counter.get_total_flops()}


def decoding(spec: Spec) -> Figures:
    """All committed pictures decoded and prepared, as the pipeline does it, for no one."""
    from embeddings_dagster.encoders.readiness import make_ready
    from embeddings_dagster.stages.embed_pictures import COLUMNS, units
    from embeddings_dagster.stages.opened import workshop

    project = Opened(Path(spec["root"]))
    encoder, threads = project.encoder(spec["model"]), project.settings.spaces[spec["model"]].threads
    chains = [(project.store.chain("rgb_images", batch)) for batch in project.batches(PICTURES)]
    rows = itertools.chain.from_iterable(units(chain.scan(chain.latest(), COLUMNS)) for chain in chains)
    images = 0
    figures: Figures = {"threads": threads}
    with workshop(project.settings) as pictures, ThreadPoolExecutor(threads) as pool, measured(figures):
        while some := list(itertools.islice(rows, threads * 64)):
            images += sum(1 for _ in pool.map(lambda unit: make_ready(encoder, unit, pictures.decode), some))
    return {**figures, "images": images}


def model(spec: Spec) -> Figures:
    """The network alone, on pictures that are on the device already, nothing copied: the best of a few batch sizes."""
    import torch
    import transformers

    from embeddings_dagster.encoders.class_token import class_token_only

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[spec["precision"]]
    network = transformers.AutoModel.from_pretrained(spec["folder"], dtype=dtype).eval().to(spec["device"])
    class_token_only(network)  # as ours does, so that it is no slower than what it is the ceiling of
    side = transformers.AutoImageProcessor.from_pretrained(spec["folder"]).crop_size["height"]
    found = [_encoded(network, torch.rand(size, 3, side, side).to(spec["device"], dtype), spec["device"])
             for size in spec["at_once"]]  # fmt: skip
    return min(found, key=lambda each: each["wall"] / each["images"])


def _encoded(network: Any, pixels: Any, device: str) -> Figures:
    import torch

    wait = _wait(device)
    figures: Figures = {"images": len(pixels) * BATCHES}
    with torch.inference_mode():
        for _ in range(3):
            _features(network, pixels)
        wait()
        with measured(figures):
            for _ in range(BATCHES):
                _features(network, pixels)
            wait()
    return figures


def _features(network: Any, pixels: Any) -> Any:
    if hasattr(network, "get_image_features"):
        return network.get_image_features(pixel_values=pixels).pooler_output
    return network(pixel_values=pixels).last_hidden_state[:, 0]


def _wait(device: str) -> Callable[[], None]:
    import torch

    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None

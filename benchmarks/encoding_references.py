"""What people use instead: a loop written by hand, sentence-transformers, and Daft, each as its users write it.

All are given a folder of pictures and leave an array of normalised vectors in the order of the names. Models are loaded
and run once before the clock starts.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from encoding_clock import Figures, measured
from PIL import Image

WARM = 8  # pictures, before the clock starts
AT_ONCE = 256  # pictures in memory, of those who want them in a list

Spec = dict[str, Any]


def pictures_of(spec: Spec) -> list[Path]:
    return sorted(path for path in Path(spec["pictures"]).rglob("*") if path.is_file())[: spec["count"]]


def opened(path: Path) -> Image.Image:
    """RGB, what is transparent on white."""
    image = Image.open(path)
    if image.mode != "RGBA":
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def loop(spec: Spec) -> Figures:
    """Open, process, encode, append, save: `batch` pictures at a time, with `threads` (0: as torch does)."""
    model, processor = _transformers(spec)
    paths = pictures_of(spec)

    def work(paths: Sequence[Path]) -> list[np.ndarray]:
        found = []
        for some in _chunks(paths, spec["batch"]):
            found.append(_encoded(spec, model, processor([opened(path) for path in some], return_tensors="pt")))
        return found

    return _timed(spec, paths, work)


def sentence_transformers(spec: Spec) -> Figures:
    """Its module for transformers' models, given lists of pictures."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    model = SentenceTransformer(modules=[Transformer(spec["model"])], device=spec["device"])

    def work(paths: Sequence[Path]) -> list[np.ndarray]:
        return [
            model.encode([opened(path) for path in some], batch_size=spec["batch"], normalize_embeddings=True,
                         show_progress_bar=False)
            for some in _chunks(paths, AT_ONCE)
        ]  # fmt: skip

    return _timed(spec, pictures_of(spec), work)


def daft(spec: Spec) -> Figures:
    """A dataframe that reads and decodes the files, and a class with the model that gets batches of them."""
    import daft as library
    from daft import DataType, col
    from daft.functions import decode_image, download

    model, processor = _transformers(spec)  # here and not in the class, so that loading is apart

    @library.cls(use_process=False)
    class Embed:
        @library.method.batch(return_dtype=DataType.python(), batch_size=spec["batch"])
        def __call__(self, images: Any) -> list[np.ndarray]:
            pictures = [_on_white(each) for each in images.to_pylist()]
            return list(_encoded(spec, model, processor(pictures, return_tensors="pt")))

    embed = Embed()

    def work(paths: Sequence[Path]) -> list[np.ndarray]:
        frame = library.from_pydict({"path": [str(path) for path in paths]})
        frame = frame.with_column("image", decode_image(download(col("path")), mode=None))
        found = frame.with_column("vector", embed(col("image"))).select("path", "vector").collect().to_pydict()
        order = np.argsort(found["path"])
        return [np.stack(found["vector"])[order]]

    return _timed(spec, pictures_of(spec), work)


def _on_white(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.asarray(pixels))
    if image.mode == "RGBA":
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    return image


def _transformers(spec: Spec) -> tuple[Any, Any]:
    import torch
    import transformers

    if spec.get("threads"):
        torch.set_num_threads(spec["threads"])
    model = transformers.AutoModel.from_pretrained(spec["model"], dtype=torch.float32).eval().to(spec["device"])
    return model, transformers.AutoImageProcessor.from_pretrained(spec["model"])


def _encoded(spec: Spec, model: Any, inputs: Any) -> np.ndarray:
    import torch

    with torch.inference_mode():
        inputs = inputs.to(spec["device"])
        if hasattr(model, "get_image_features"):
            features = model.get_image_features(**inputs).pooler_output
        else:
            features = model(**inputs).last_hidden_state[:, 0]
        found: np.ndarray = (features / features.norm(dim=-1, keepdim=True)).cpu().numpy()
    return found


def _timed(spec: Spec, paths: Sequence[Path], work: Callable[[Sequence[Path]], list[np.ndarray]]) -> Figures:
    work(paths[:WARM])
    figures: Figures = {"images": len(paths)}
    with measured(figures):
        np.save(spec["vectors"], np.concatenate(work(paths)))
    return figures


def _chunks(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))

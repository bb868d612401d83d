"""int8: a model's vision side quantised by NNCF after training, on pictures of the user's own.

On pictures of another kind the ranges of what the layers give would be wrong, and the vectors with them. A quantised
model is never changed: its digest is part of the fingerprint of the vectors it makes.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embeddings_dagster.encoders.base import Decode, Pixels, Unit, Vectors
from embeddings_dagster.encoders.files import locate
from embeddings_dagster.encoders.identity import identity_of, remembered_sha256
from embeddings_dagster.encoders.kept_model import keep
from embeddings_dagster.encoders.loading import load_network
from embeddings_dagster.encoders.openvino_model import as_input, calibrated_folder, save, vision_model
from embeddings_dagster.encoders.openvino_runtime import nncf, without_progress_bars
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.encoders.runtime import LOCK
from embeddings_dagster.errors import EmbeddingsError, ItemError, ModelError
from embeddings_dagster.images.regions import crop
from embeddings_dagster.settings_models import ModelSettings

PURPOSE = "precision int8"
MOST = 256  # pictures to calibrate on
LEAST = 16

# How much of the range of activations is moved into the weights before both are rounded, 0 to 1: half and half.
SMOOTHING = 0.5

Check = Callable[[], None]

_log = logging.getLogger(__name__)


def calibrate(
    model: ModelSettings,
    units: Iterable[Unit],
    decode: Decode,
    cache: Path,
    *,
    note: Mapping[str, Any],
    check_stop: Check,
) -> str:
    """Quantise `model` on all regions of `units`, into its folder of `cache`, with the note; returns the digest.

    What cannot be read of the pictures is left out. `check_stop` may raise, and is called before each of them.

    Raises:
        ModelError: fewer than `LEAST` pictures could be read.
        MissingExtra, ModelUnavailable: as `load` does.
    """
    nncf(PURPOSE)
    files = locate(model)
    identity = identity_of(model, files, remembered_sha256)
    with LOCK:
        preprocessor = Preprocessor(files.folder, fast=model.preprocessing == "fast")
    pictures = list(_pictures(preprocessor, units, decode, check_stop))
    if len(pictures) < LEAST:
        raise too_few(model, len(pictures))
    source = vision_model(identity, partial(load_network, model, files), preprocessor.size, cache)
    pixels = _Floats(pictures, preprocessor.table, check_stop)
    write = partial(quantise, source, pixels, count=len(pictures))
    return keep(calibrated_folder(cache), write, {**note, "pictures": len(pictures)})


def too_few(model: ModelSettings, there: int) -> ModelError:
    """That so few pictures say nothing of the others."""
    return ModelError(
        f"int8 is calibrated on {LEAST} or more pictures of your own, and for the model {model.model!r} there are "
        f"{there} so far that can be read; run again when there are more, or set `precision` to bf16 or fp32"
    )


def quantise(source: Any, pixels: Iterable[Vectors], folder: Path, *, count: int) -> None:
    """Write the int8 form of an `openvino.Model` into `folder`, calibrated on `count` `pixels`, each
    (1, 3, height, width), which are gone through several times.

    What NNCF chooses for transformers by itself did not do. Its ranges are the mean of each picture's extremes, which
    cuts off whatever is brighter than most; and it moves nearly all of the range of activations into the weights. With
    the bundled CLIP and DINOv2 on pictures of the sample, the least cosine with float32 over those that were held back
    was .953 and .932; with ranges from the extremes over all pictures .990 and .983; and with `SMOOTHING` besides .9992
    and .9996. All are equally fast, and bias correction makes no difference.
    """
    library = nncf(PURPOSE)
    ranges = library.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    smoothing = library.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
    with without_progress_bars():
        quantised = library.quantize(
            source,
            library.Dataset(pixels),
            subset_size=count,
            model_type=library.ModelType.TRANSFORMER,
            preset=library.QuantizationPreset.PERFORMANCE,
            fast_bias_correction=True,
            advanced_parameters=library.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges, smooth_quant_alphas=smoothing
            ),
        )
    save(quantised, folder)


class _Floats:
    """Prepared pictures as the network takes them, one at a time: as float32 they are four times as large."""

    def __init__(self, pictures: Sequence[Pixels], table: Vectors | None, check_stop: Check) -> None:
        self._pictures, self._table, self._check_stop = pictures, table, check_stop

    def __iter__(self) -> Iterator[Vectors]:
        for pixels in self._pictures:
            self._check_stop()
            yield as_input(pixels[np.newaxis], self._table)


def _pictures(preprocessor: Preprocessor, units: Iterable[Unit], decode: Decode, check_stop: Check) -> Iterator[Pixels]:
    """The pixels of every region that can be read."""
    for unit in units:
        check_stop()
        for region in unit.regions:
            try:
                yield preprocessor(crop(decode(unit.data), region.box))
            except ItemError as error:
                _log.info("region %d of %s is left out of the calibration: %s", region.region, unit.image_id, error)
            except EmbeddingsError:
                raise
            except Exception as error:  # as when it is encoded: one picture must not stop all others
                reason = f"{type(error).__name__}: {error}"
                _log.info("region %d of %s is left out of the calibration: %s", region.region, unit.image_id, reason)

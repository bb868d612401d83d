"""Loading a model: once per process, from its own folder, with nothing made up.

A network that lacks weights would be filled with random ones by transformers; here that is an error.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from embeddings_dagster.encoders.backends import open_openvino, open_torch
from embeddings_dagster.encoders.base import Encoder
from embeddings_dagster.encoders.custom import open_custom
from embeddings_dagster.encoders.features import PICTURES, TEXTS, without
from embeddings_dagster.encoders.files import ModelFiles, locate
from embeddings_dagster.encoders.gate import Gate
from embeddings_dagster.encoders.identity import ModelIdentity, identify, identity_of, remembered_sha256
from embeddings_dagster.encoders.network import NetworkEncoder
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.encoders.runtime import LOCK, choose_device, runtime
from embeddings_dagster.encoders.text_side import TextSide
from embeddings_dagster.encoders.tokens import Tokens, open_tokenizer
from embeddings_dagster.errors import EmbeddingsError, ModelError
from embeddings_dagster.settings_models import TOLERANCE, ModelSettings

# What may differ between two runs with the same loaded model.
_OF_A_RUN = {"device", "batch_size", "threads", "texts", "side", "calibration"}

_IN_FLOAT32: dict[str, object] = {"precision": "fp32", "backend": "torch", "calibrated": None}


class _Closable(Encoder, Protocol):
    gate: Gate | None

    @property
    def closed(self) -> bool: ...


# Loaded models: (device, settings) -> (fingerprint, encoder). A model whose files changed takes the place of the old
# one, which lives on as long as someone is using it.
_LOADED: dict[tuple[str, str], tuple[str, _Closable]] = {}


def load(model: ModelSettings, device: str | None = None, *, cache: Path | None = None) -> Encoder:
    """The encoder of `model`, on `device` or else the device its settings say; loaded once per process.

    `cache` is the project's local folder of derived files, where compiled models are kept.

    Raises:
        ModelUnavailable: its files are neither here nor to be had, or it is not calibrated.
        DeviceUnavailable: the device is not there.
        MissingExtra: it needs a package that is not installed.
        ModelError: its files cannot be loaded.
    """
    model = _of_both_sides(model)
    files = locate(model)
    identity = identity_of(model, files, remembered_sha256)
    with LOCK:
        place = choose_device(device or model.device)
        key = (place, model.model_dump_json(exclude=_OF_A_RUN))
        fingerprint, encoder = _LOADED.get(key, ("", None))
        if encoder is None or encoder.closed or fingerprint != identity.fingerprint:
            encoder = open_encoder(model, files, identity, place, cache)
            _LOADED[key] = (identity.fingerprint, encoder)
        return encoder


def unload() -> None:
    """Close all loaded models and free their memory."""
    with LOCK:
        while _LOADED:
            _, (_, encoder) = _LOADED.popitem()
            encoder.close()


def open_private(model: ModelSettings, device: str | None = None) -> Encoder:
    """An encoder as `load` gives it, but one that no one else has, so that it may be closed; raises as `load` does."""
    files = locate(model)
    identity = identity_of(model, files, remembered_sha256)
    with LOCK:
        return open_encoder(model, files, identity, choose_device(device or model.device), None)


def open_encoder(
    model: ModelSettings, files: ModelFiles, identity: ModelIdentity, device: str, cache: Path | None
) -> _Closable:
    """Read a model's files; the caller holds `LOCK`. Raises as `load` does."""
    try:
        encoder = _encoder(model, files, identity, device, cache)
    except EmbeddingsError:
        raise
    except Exception as error:  # the files may be anything, and transformers has no error of its own for that
        raise ModelError(
            f"the model {model.model!r} in {str(files.folder)!r} cannot be loaded on {device} "
            f"({type(error).__name__}: {error})"
        ) from error
    tolerance = TOLERANCE.get(encoder.precision, 0) if model.parity is None else model.parity
    if encoder.precision in TOLERANCE and tolerance > 0:
        encoder.gate = Gate(encoder, partial(_reference, model, identity, device), tolerance)
    return encoder


def _of_both_sides(model: ModelSettings) -> ModelSettings:
    """The settings of the encoder that serves `model`: texts are read by the one that pictures have in float32.

    In other precisions a network of one's own keeps its weights in float32, and so reads texts with those it has.
    """
    in_float32 = _IN_FLOAT32 if model.side == "text" and model.kind != "custom" else {}
    model = model.model_copy(update={"side": "image", **in_float32})
    return model.model_copy(update={"parity": None}) if model.precision == "fp32" else model


def _reference(model: ModelSettings, identity: ModelIdentity, device: str) -> Encoder:
    """The same model in float32, for the gate.

    Raises:
        ModelError: it cannot be loaded, or its files are not those any more.
    """
    _check_unchanged(model, identity)
    try:
        return open_private(model.model_copy(update=_IN_FLOAT32), device)
    except ModelError as error:
        raise ModelError(
            f"the first vectors of {model.model!r} in {model.precision} are compared with those of float32, which "
            f"failed: {error}. Set `precision` to fp32, or `parity` to 0, which compares nothing"
        ) from error


def _check_unchanged(model: ModelSettings, identity: ModelIdentity) -> None:
    """What is loaded later has to go with what was loaded before.

    Raises:
        ModelError: files of the model changed in between.
    """
    if identify(model, download=False).fingerprint != identity.fingerprint:
        raise ModelError(f"the files of the model {model.model!r} changed while it was in use; start again")


def _encoder(
    model: ModelSettings, files: ModelFiles, identity: ModelIdentity, device: str, cache: Path | None
) -> _Closable:
    if model.kind == "custom":
        return open_custom(model, files, device)
    preprocessor = Preprocessor(files.folder, fast=model.preprocessing == "fast")
    tokens = _tokens(model, files) if model.kind == "clip" else None
    network = partial(load_network, model, files)
    for_texts = partial(_network_for_texts, model, files, identity)
    if model.runs_on_openvino:
        backend = open_openvino(model, identity, network, preprocessor, cache)
    else:
        shared = network()
        backend = open_torch(model, shared, preprocessor, device)
        if backend.precision == "fp32":
            for_texts = partial(_same, shared)
        else:
            without(shared, TEXTS)
    text = partial(_text_side, for_texts, tokens, device, identity.dimension) if tokens is not None else None
    return NetworkEncoder(model.model, preprocessor, backend, dimension=identity.dimension, text=text)


def _same(network: Any) -> Any:
    return network


def _network_for_texts(model: ModelSettings, files: ModelFiles, identity: ModelIdentity) -> Any:
    _check_unchanged(model, identity)
    return without(load_network(model, files), PICTURES)


def _tokens(model: ModelSettings, files: ModelFiles) -> Tokens:
    auto = runtime().transformers.AutoConfig
    config = auto.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
    return Tokens(open_tokenizer(files.folder, config, model.model), config, model.model)


def _text_side(network: Callable[[], Any], tokens: Tokens, device: str, dimension: int) -> TextSide:
    with LOCK:
        return TextSide(network().to(device), tokens, device=device, dimension=dimension)


def load_network(model: ModelSettings, files: ModelFiles) -> Any:
    """The network of a model of kind clip or dino, in float32, on the CPU.

    Raises:
        ModelError: its weights are not all there, or it is no model of that kind.
    """
    torch, transformers = runtime()
    network, report = transformers.AutoModel.from_pretrained(
        files.folder,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"the weights of the model {model.model!r} in {str(files.folder)!r} lack {len(absent)} tensors, such as "
            f"{absent[0]!r}: they belong to another model than its config.json says; take all its files from one place"
        )
    if model.kind == "clip" and not (hasattr(network, "get_image_features") and hasattr(network, "get_text_features")):
        raise ModelError(
            f"the model {model.model!r} is a {type(network).__name__}, not a CLIP; correct `kind` or `model`"
        )
    return network.eval()

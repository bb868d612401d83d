"""Loading a model: once per process, from its own folder, with nothing made up.

A network that lacks weights would be filled with random ones by transformers; here that is an error.
"""

from typing import Any

from embeddings_dagster.encoders.base import Encoder
from embeddings_dagster.encoders.clip import ClipEncoder
from embeddings_dagster.encoders.dino import DinoEncoder
from embeddings_dagster.encoders.files import ModelFiles, locate
from embeddings_dagster.encoders.identity import ModelIdentity, identity_of, remembered_sha256
from embeddings_dagster.encoders.network import NetworkEncoder
from embeddings_dagster.encoders.preprocess import Preprocessor
from embeddings_dagster.encoders.runtime import LOCK, choose_device, runtime
from embeddings_dagster.errors import ModelError
from embeddings_dagster.settings import ModelSettings

_DTYPES = {"fp32": "float32"}

# Loaded models: (model, device, precision) -> (fingerprint, encoder). A model whose files changed takes the place of
# the old one, which lives on as long as someone is using it.
_LOADED: dict[tuple[str, str, str], tuple[str, NetworkEncoder]] = {}


def load(model: ModelSettings, device: str | None = None) -> Encoder:
    """The encoder of `model`, on `device` or else the device its settings say; loaded once per process.

    Raises:
        ModelUnavailable: its files are neither here nor to be had.
        DeviceUnavailable: the device is not there.
        ModelError: its files cannot be loaded.
    """
    files = locate(model)
    identity = identity_of(model, files, remembered_sha256)
    with LOCK:
        place = choose_device(device or model.device)
        key = (model.model, place, model.precision)
        fingerprint, encoder = _LOADED.get(key, ("", None))
        if encoder is None or encoder.closed or fingerprint != identity.fingerprint:
            encoder = _read(model, files, identity, place)
            _LOADED[key] = (identity.fingerprint, encoder)
        return encoder


def unload() -> None:
    """Close all loaded models and free their memory."""
    with LOCK:
        while _LOADED:
            _, (_, encoder) = _LOADED.popitem()
            encoder.close()


def _read(model: ModelSettings, files: ModelFiles, identity: ModelIdentity, device: str) -> NetworkEncoder:
    try:
        return _encoder(model, files, identity, device)
    except ModelError:
        raise
    except Exception as error:  # the files may be anything, and transformers has no error of its own for that
        raise ModelError(
            f"the model {model.model!r} in {str(files.folder)!r} cannot be loaded on {device} "
            f"({type(error).__name__}: {error})"
        ) from error


def _encoder(model: ModelSettings, files: ModelFiles, identity: ModelIdentity, device: str) -> NetworkEncoder:
    network = _network(model, files)
    preprocessor = Preprocessor(files.folder)
    if device.startswith("cuda"):
        _exact_float32()
    if model.kind == "clip":
        auto = runtime().transformers.AutoTokenizer
        tokenizer = auto.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
        return ClipEncoder(model.model, network, preprocessor, tokenizer, device=device, dimension=identity.dimension)
    return DinoEncoder(model.model, network, preprocessor, device=device, dimension=identity.dimension)


def _network(model: ModelSettings, files: ModelFiles) -> Any:
    torch, transformers = runtime()
    network, report = transformers.AutoModel.from_pretrained(
        files.folder,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        dtype=getattr(torch, _DTYPES[model.precision]),
        output_loading_info=True,
    )
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"the weights of the model {model.model!r} in {str(files.folder)!r} lack {len(absent)} tensors, such as "
            f"{absent[0]!r}: they belong to another model than its config.json says; take all its files from one place"
        )
    return network


def _exact_float32() -> None:
    """Keep GPUs from computing float32 with 10 bits of mantissa: that is TF32, torch's default for convolutions.

    By the older pair of switches, since after the newer `fp32_precision` torch refuses to read the older ones at all.
    """
    torch = runtime().torch
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False

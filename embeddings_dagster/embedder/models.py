"""Which models, and the moment they are loaded: once, when first needed, in the thread that needs them.

Each embedder has its models to itself, so that closing it frees their memory and breaks no other.
"""

import json
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embeddings_dagster.errors import DeviceUnavailable, ModelError

if TYPE_CHECKING:
    from embeddings_dagster.encoders import Encoder
    from embeddings_dagster.settings_models import ModelSettings

CLOSED = "the embedder has been closed; make another"

# `embeddings_dagster.encoders` and the settings import pydantic, so they are imported where they are used.


def choose(model: "str | ModelSettings", **options: object) -> "ModelSettings":
    """The settings of a model: those given, or those of a name (`bundled:clip`, a hub id, a folder) with `options`.

    The kind of a name is a guess that `Models` corrects when the model's files are at hand.

    Raises:
        ModelError: an option cannot be used, or the model is int8, which needs a project.
    """
    from pydantic import ValidationError

    from embeddings_dagster.settings_models import ModelSettings

    name = model if isinstance(model, str) else model.model
    if "int8" in (options.get("precision"), getattr(model, "precision", None)):
        raise ModelError(
            f"the model {name!r} cannot be int8 here: int8 is calibrated on a project's own pictures, by "
            "`embeddings run`. Set `precision` to bf16, or to fp32"
        )
    if not isinstance(model, str):
        return model
    try:
        return ModelSettings.model_validate({"kind": "clip", "model": model, **options})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'options'}: {each['msg']}" for each in error.errors())
        raise ModelError(f"the model {name!r} cannot be used as asked ({wrong})") from None


class Models:
    """An embedder's models, by the names it has for them. All methods may be called from several threads."""

    def __init__(self, chosen: "Mapping[str, ModelSettings]", guessed: frozenset[str], device: str) -> None:
        """`guessed` are those whose kind is a guess; `device` other than `auto` overrules that of the settings."""
        self._chosen, self._guessed, self._device = dict(chosen), guessed, device
        self._lock = threading.Lock()
        self._encoders: dict[str, Encoder] | None = None
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, in the order they were given."""
        return tuple(self._chosen)

    def encoders(self) -> "Mapping[str, Encoder]":
        """The models, loaded by the first call; one that fails may be repeated.

        Raises:
            ModelError: one cannot be had or loaded, or they have been closed.
        """
        with self._lock:
            if self._closed:
                raise ModelError(CLOSED)
            if self._encoders is None:
                loaded: dict[str, Encoder] = {}
                try:
                    for name in self._chosen:
                        loaded[name] = self._load(name)
                except BaseException:
                    for encoder in loaded.values():
                        encoder.close()
                    raise
                self._encoders = loaded
            return self._encoders

    def reading_text(self, name: str | None) -> "Encoder":
        """The model of that name, or the one that reads text; raises as `encoders`, or:

        Raises:
            ModelError: there is none of that name; or without one, more or less than one model reads text.
        """
        encoders = self.encoders()
        readers = [name for name, encoder in encoders.items() if encoder.has_text]
        if name is None and len(readers) != 1:
            raise ModelError(
                f"{len(readers)} of the models ({', '.join(encoders)}) read text; "
                + ("say which is meant" if readers else "take a CLIP, such as bundled:clip, for it")
            )
        return encoders[self.named(name or readers[0])]

    def dimension(self, name: str | None) -> int:
        """The length of a model's vectors; read from its files, which are fetched if need be, while it is not loaded.

        Raises:
            ModelError: it cannot be had, there is none of that name, or there are several and none is named.
        """
        name = self.named(name)
        with self._lock:
            if self._closed:
                raise ModelError(CLOSED)
            if self._encoders is not None:
                return self._encoders[name].dimension
            settings = self._settings(name)
        from embeddings_dagster.encoders import identify

        # What the weights are does not matter to their vectors' length, so they are not hashed.
        return identify(settings, digest=lambda path: "").dimension

    def named(self, name: str | None) -> str:
        """`name`, or that of the only model.

        Raises:
            ModelError: there is no model of that name, or there are several and none is named.
        """
        if name is None and len(self._chosen) == 1:
            return next(iter(self._chosen))
        if name is None or name not in self._chosen:
            raise ModelError(f"{name!r} is none of the models here, which are {', '.join(self._chosen)}; name one")
        return name

    def close(self) -> None:
        """Free the models' memory, for good."""
        with self._lock:
            self._closed = True
            encoders, self._encoders = self._encoders or {}, None
        for encoder in encoders.values():
            encoder.close()

    def _load(self, name: str) -> "Encoder":
        from embeddings_dagster.encoders import open_private

        settings = self._settings(name)
        wanted = settings.device if self._device == "auto" else self._device
        return open_private(settings, place(wanted))

    def _settings(self, name: str) -> "ModelSettings":
        """The settings with the right kind; the lock is held."""
        settings = self._chosen[name]
        if name in self._guessed:
            self._chosen[name] = settings = settings.model_copy(update={"kind": kind_of(settings)})
            self._guessed -= {name}
        return settings


def place(wanted: str) -> str:
    """The device to use for `wanted`: the CPU, with a warning, where the machine has no such hardware at all.

    Raises:
        DeviceUnavailable: there are graphics cards, but not the one that was asked for.
    """
    from embeddings_dagster.encoders.runtime import choose_device

    try:
        return choose_device(wanted)
    except DeviceUnavailable as error:
        if choose_device("auto") != "cpu":
            raise
        warnings.warn(f"{error}. The CPU is used instead", RuntimeWarning, stacklevel=2)
        return "cpu"


def kind_of(model: "ModelSettings") -> Literal["clip", "dino"]:
    """Whether a model is a CLIP or of its kin, or like DINOv2, by its config.json; `clip` where it does not say.

    Raises:
        ModelUnavailable: the model is neither here nor to be had.
    """
    from embeddings_dagster.encoders import files, hub
    from embeddings_dagster.encoders.families import DINO_KIN

    name = model.model
    if name.startswith(files.BUNDLED_PREFIX):
        folder = files.BUNDLED / Path(name.removeprefix(files.BUNDLED_PREFIX)).name
    elif files.is_folder(name):
        folder = Path(name).expanduser()
    else:
        known = hub.cached(name, model.revision)
        folder = known if known and (known / "config.json").is_file() else hub.fetch(name, model.revision, lambda _: [])
    try:
        told = json.loads((folder / "config.json").read_bytes())["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return "clip"  # whoever loads it says in full what is wrong with its files
    return "dino" if told in DINO_KIN else "clip"

"""The registry of models: which fingerprint of a model serves, and for each all that is needed to load it.

Assets write the settings' fingerprint; search, sinks and exports read the serving one. So a new model's vectors are
made beside the old one's, and nobody searches half of them. Who changes which one serves: see `switching`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.encoders.files import is_folder
from embeddings_dagster.errors import CommitConflict, ModelError
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.account import now
from embeddings_dagster.store import Previous, Store, Versions
from embeddings_dagster.store.linked import placed

RACES = 5

Body = dict[str, Any]


@dataclass(frozen=True)
class ModelRecord:
    """A fingerprint of a model, and the settings that load it."""

    name: str
    fingerprint: str
    dimension: int
    settings: Mapping[str, object]
    details: Mapping[str, object]
    registered_at: datetime
    run_id: str
    serving: bool

    @property
    def fp12(self) -> str:
        return self.fingerprint[:12]

    @property
    def dataset(self) -> str:
        """Where its vectors lie."""
        return f"embeddings/{self.name}/{self.fp12}"

    def model_settings(self) -> ModelSettings:
        """The settings it was made with.

        Raises:
            ModelError: this release does not know one of them.
        """
        try:
            return ModelSettings.model_validate(dict(self.settings))
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, mistake["loc"])) for mistake in error.errors())
            raise ModelError(
                f"the serving model {self.name!r} ({self.fp12}) was registered with settings that this release cannot "
                f"use ({wrong}). Encode with the model of the settings, then `embeddings model switch {self.name}`"
            ) from error


@dataclass(frozen=True)
class Hold:
    """A switch by hand: what serves goes on serving while the settings ask for the fingerprint `against`."""

    against: str
    since: datetime


def records(store: Store, name: str) -> list[ModelRecord]:
    """Every fingerprint that was registered for a model, oldest first."""
    body = _read(store, name)
    return [_record(name, entry, body["serving"]) for entry in body["records"]]


def serving(store: Store, name: str) -> ModelRecord | None:
    """The fingerprint that search reads, or None while nothing of the model was indexed yet."""
    return next((record for record in records(store, name) if record.serving), None)


def held(store: Store, name: str) -> Hold | None:
    """The hold on what serves, if there is one."""
    found = _read(store, name).get("held")
    return Hold(found["against"], datetime.fromisoformat(found["since"])) if found else None


def newest_version(store: Store, name: str) -> int:
    """The number of the registry's newest version, 0 for none: tells cheaply whether to read it again."""
    return max(registry(store, name).numbers(), default=0)


def register(store: Store, name: str, identity: ModelIdentity, settings: ModelSettings, *, run_id: str = "") -> None:
    """Record what is needed to load a fingerprint; the first one of a model serves. Known ones are left as they are."""

    def change(body: Body) -> None:
        if any(entry["fingerprint"] == identity.fingerprint for entry in body["records"]):
            return
        body["records"].append(
            {
                "fingerprint": identity.fingerprint,
                "dimension": identity.dimension,
                "settings": _loadable_anywhere(settings),
                "details": dict(identity.details),
                "registered_at": now().isoformat(),
                "run_id": run_id,
            }
        )
        body["serving"] = body["serving"] or identity.fingerprint

    change_registry(store, name, change)


def _loadable_anywhere(settings: ModelSettings) -> Body:
    """The settings as JSON; files and folders are named absolutely, for those who run from another folder."""

    def whole(name: str) -> str:
        return str(Path(name).expanduser().absolute()) if is_folder(name) else name

    body = {**settings.model_dump(mode="json"), "model": whole(settings.model)}
    if settings.network is not None:
        body["network"]["architecture"] = whole(settings.network.architecture)
        body["network"]["preprocess"] = settings.network.preprocess and whole(settings.network.preprocess)
    return body


def registry(store: Store, name: str) -> Versions:
    """The versions of a model's registry, for whoever reads them raw."""
    return Versions(store.files, f"models/{name}/manifests", f"registry of model {name}")


def _read(store: Store, name: str) -> Body:
    newest = registry(store, name).newest(lambda number: read_version(store, name, number))
    return newest.body if newest else {"version": 0, "serving": None, "records": []}


class RegistryVersion(NamedTuple):
    """One version of a registry, as it was committed."""

    body: Body
    previous: Previous | None
    self_sha256: str


def read_version(store: Store, name: str, number: int) -> RegistryVersion:
    """One version. Raises MissingFile, CorruptFile, FormatTooNew."""
    versions = registry(store, name)

    def parse(document: Mapping[str, Any]) -> RegistryVersion:
        for entry in document["records"]:
            _record(name, entry, document["serving"])
        previous = document["previous"]
        return RegistryVersion(dict(document), previous and Previous(**previous), document["self_sha256"])

    return placed(versions.read(number), store.files.url(versions.path(number)), parse, model=name, version=number)


def _record(name: str, entry: Mapping[str, Any], serves: str | None) -> ModelRecord:
    moment = datetime.fromisoformat(entry["registered_at"])
    is_serving = entry["fingerprint"] == serves
    return ModelRecord(name, **{**entry, "registered_at": moment}, serving=is_serving)


def change_registry(store: Store, name: str, change: Callable[[Body], None]) -> None:
    """Commit a registry of which `change` changed `serving`, `records` or `held`; no change, no version.

    Who loses the race changes what the winner left, so `change` may be called several times.

    Raises:
        CommitConflict: other writers won every race.
    """
    versions = registry(store, name)
    for race in range(RACES):
        base = _read(store, name)
        body, before = _changeable(base), _changeable(base)
        change(body)
        if body == before:
            return
        store.files.require_exclusive()
        previous = {"version": base["version"], "sha256": base["self_sha256"]} if base["version"] else None
        number = base["version"] + 1
        try:
            versions.create(number, {**body, "model": name, "version": number, "previous": previous})
        except CommitConflict:
            if race == RACES - 1:
                raise
        else:
            return


def _changeable(base: Mapping[str, Any]) -> Body:
    return {"serving": base["serving"], "records": list(base["records"]), "held": base.get("held")}

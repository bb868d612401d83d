"""The registry of models: which fingerprint of a model serves, and for each all that is needed to load it.

Assets write the settings' fingerprint; search, sinks and exports read the serving one. So a new model's vectors are
made beside the old one's, and nobody searches half of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embeddings_dagster.encoders import ModelIdentity, identify
from embeddings_dagster.encoders.files import is_folder
from embeddings_dagster.errors import CommitConflict, ModelError, UnknownItem
from embeddings_dagster.settings import ModelSettings
from embeddings_dagster.stages.account import now
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.index_checks import index_consumed_is_current, index_rows_equal_live_rows
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.store import Store, Versions

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
class Switch:
    """What became of a wish to switch: `reasons` says, line by line, what is still missing."""

    model: str
    serving: str | None
    wanted: str
    switched: bool
    reasons: tuple[str, ...] = ()


def records(store: Store, name: str) -> list[ModelRecord]:
    """Every fingerprint that was registered for a model, oldest first."""
    body = _read(registry(store, name))
    return [_record(name, entry, body["serving"]) for entry in body["records"]]


def serving(store: Store, name: str) -> ModelRecord | None:
    """The fingerprint that search reads, or None while nothing of the model was indexed yet."""
    return next((record for record in records(store, name) if record.serving), None)


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

    _update(store, name, change)


def switch(store: Store, name: str, fingerprint: str) -> ModelRecord:
    """Let a registered fingerprint serve; its first digits will do.

    Raises:
        UnknownItem: none, or several, of that name are registered.
    """
    found = [record for record in records(store, name) if record.fingerprint.startswith(fingerprint)]
    if not fingerprint or len(found) != 1:
        known = ", ".join(record.fp12 for record in records(store, name)) or "none"
        raise UnknownItem(
            f"{len(found)} fingerprints of model {name!r} start with {fingerprint!r} (registered: {known}); "
            "`embeddings model list` shows them"
        )

    def change(body: Body) -> None:
        body["serving"] = found[0].fingerprint

    _update(store, name, change)
    return next(record for record in records(store, name) if record.serving)


def switch_when_ready(context: StageContext, name: str, identity: ModelIdentity | None = None) -> Switch:
    """Let the settings' fingerprint serve as soon as it can answer for every batch; until then, say what is missing."""
    identity = identity or identify(model_settings(context.settings, name))
    before = serving(context.store, name)
    old = before.fingerprint if before else None
    if old == identity.fingerprint:
        return Switch(name, old, identity.fingerprint, switched=False)
    reasons = not_ready(context.store, name, identity)
    if reasons:
        return Switch(name, old, identity.fingerprint, switched=False, reasons=reasons)
    switch(context.store, name, identity.fingerprint)
    context.log(f"model {name}: {identity.fp12} serves now, instead of {old and old[:12]}")
    return Switch(name, identity.fingerprint, identity.fingerprint, switched=True)


def not_ready(store: Store, name: str, identity: ModelIdentity) -> tuple[str, ...]:
    """Why a fingerprint cannot serve yet: one line for each thing that is missing."""
    if all(record.fingerprint != identity.fingerprint for record in records(store, name)):
        return (f"{identity.fp12} has no index yet",)
    reasons = []
    vectors = store.heads(dataset(name, identity))
    for batch, rgb in store.heads("rgb_images").by_batch.items():
        made = vectors.get(batch)
        if rgb.version and made.inputs.get(f"rgb_images/{batch}", {}).get("content") != rgb.content:
            reasons.append(f"batch {batch} is out of date" if made.version else f"batch {batch} is not encoded")
    for check in (index_consumed_is_current, index_rows_equal_live_rows):
        result = check(store, name, identity)
        if not result.passed:
            reasons.append(f"{check.__name__}: {result.description}")
    return tuple(reasons)


def _loadable_anywhere(settings: ModelSettings) -> Body:
    """The settings as JSON; a model's folder is named absolutely, for those who run from another folder."""
    model = str(Path(settings.model).expanduser().absolute()) if is_folder(settings.model) else settings.model
    return {**settings.model_dump(mode="json"), "model": model}


def registry(store: Store, name: str) -> Versions:
    """The versions of a model's registry, for whoever reads them raw."""
    return Versions(store.files, f"models/{name}/manifests", f"registry of model {name}")


def _read(versions: Versions) -> Body:
    numbers = versions.numbers()
    return versions.read(numbers[-1]) if numbers else {"version": 0, "serving": None, "records": []}


def _record(name: str, entry: Mapping[str, Any], serves: str | None) -> ModelRecord:
    moment = datetime.fromisoformat(entry["registered_at"])
    is_serving = entry["fingerprint"] == serves
    return ModelRecord(name, **{**entry, "registered_at": moment}, serving=is_serving)


def _update(store: Store, name: str, change: Callable[[Body], None]) -> None:
    """Commit a changed registry; who loses the race changes what the winner left. No change, no version.

    Raises:
        CommitConflict: other writers won every race.
    """
    versions = registry(store, name)
    for race in range(RACES):
        base = _read(versions)
        body = {"serving": base["serving"], "records": list(base["records"])}
        before = {"serving": base["serving"], "records": list(base["records"])}
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

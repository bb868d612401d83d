"""Which fingerprint of a model serves: the switch that follows by itself, and the one by hand.

The settings' fingerprint serves as soon as it can answer for every batch. A switch by hand to another one is held: it
stays until it is released, or until the settings ask for yet another fingerprint. Each switch is one commit of the
registry, and a running search takes it up within a second.
"""

from dataclasses import dataclass, replace

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import SwitchRefused, UnknownItem
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.account import now
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.identities import identity as identity_of
from embeddings_dagster.stages.index_checks import index_rows_equal_live_rows
from embeddings_dagster.stages.models import Body, Hold, ModelRecord, change_registry, held, records, serving
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.stages.progress import progress
from embeddings_dagster.store import Store

SAID = 12  # digits of a fingerprint in words


@dataclass(frozen=True)
class Switch:
    """What became of a wish to switch to `wanted`: `reasons` says, line by line, what keeps it from serving.

    `before` is what served until then. `held`: what serves now stays, though the settings ask for another.
    """

    model: str
    before: str | None
    serving: str | None
    wanted: str
    switched: bool
    held: bool = False
    reasons: tuple[str, ...] = ()


def switch_when_ready(context: StageContext, name: str, identity: ModelIdentity | None = None) -> Switch:
    """Let the settings' fingerprint serve as soon as it can answer for every batch; until then, say what is missing.

    A switch by hand is left as it is, unless the settings ask for another fingerprint than they did then.
    """
    store = context.store
    identity = identity or identity_of(store, name, model_settings(context.settings, name))
    wanted = identity.fingerprint
    if _is_outlived(held(store, name), wanted):
        release(store, name)
    before = _serving(store, name)
    stays = Switch(name, before, before, wanted, switched=False)
    if before == wanted:
        return stays
    if held(store, name):
        return replace(stays, held=True, reasons=(f"{before and before[:SAID]} was switched to by hand, and is held",))
    if reasons := not_ready(store, name, identity):
        context.log(f"model {name}: {identity.fp12} cannot serve yet: {'; '.join(reasons)}")
        return replace(stays, reasons=reasons)

    def change(body: Body) -> None:
        if body["held"] is None:  # somebody may have switched by hand while this one was looked at
            body["serving"] = wanted

    change_registry(store, name, change)
    if (after := _serving(store, name)) != wanted:
        return replace(stays, serving=after, held=True)
    context.log(f"model {name}: {identity.fp12} serves now, instead of {before and before[:SAID]}")
    return Switch(name, before, wanted, wanted, switched=True)


def switch_is_due(store: Store, name: str, identity: ModelIdentity) -> bool:
    """Whether the next refresh of the index may change what serves, as far as manifests tell."""
    hold, serves = held(store, name), _serving(store, name)
    if _is_outlived(hold, identity.fingerprint):
        return True
    return hold is None and serves not in (None, identity.fingerprint) and not progress(store, name, identity).missing


def switch_by_hand(
    store: Store, name: str, identity: ModelIdentity, fingerprint: str | None = None, *, force: bool = False
) -> Switch:
    """Let a registered fingerprint serve, by default that of the settings (`identity`); its first digits will do.

    Any other than that of the settings is held. With `force`, it may lack what is not encoded or not indexed yet.

    Raises:
        UnknownItem: none, or several, of that name are registered.
        SwitchRefused: it cannot answer for every picture.
    """
    wanted = identity.fingerprint
    record = _registered(store, name, fingerprint) if fingerprint is not None else None
    target = replace(identity, fingerprint=record.fingerprint, dimension=record.dimension) if record else identity
    before = _serving(store, name)
    reasons = () if before == target.fingerprint else not_ready(store, name, target)
    if reasons and not (force and _can_be_searched(store, name, target)):
        remedy = " `--force` switches all the same, and what it lacks is then not found." if not force else ""
        raise SwitchRefused(
            f"{target.fp12} cannot serve {name} yet: {'; '.join(reasons)}. `embeddings run` completes the one that the "
            f"settings ask for ({identity.fp12}).{remedy}"
        )
    hold = {"against": wanted, "since": now().isoformat()} if target.fingerprint != wanted else None

    def change(body: Body) -> None:
        body["serving"] = target.fingerprint
        if hold is None or body["held"] is None or body["held"]["against"] != wanted:
            body["held"] = hold

    change_registry(store, name, change)
    switched = before != target.fingerprint
    return Switch(name, before, target.fingerprint, target.fingerprint, switched, hold is not None, reasons)


def release(store: Store, name: str) -> None:
    """End a hold, if there is one: what the settings ask for serves again as soon as it is ready."""

    def change(body: Body) -> None:
        body["held"] = None

    change_registry(store, name, change)


def not_ready(store: Store, name: str, identity: ModelIdentity) -> tuple[str, ...]:
    """Why a fingerprint cannot serve yet: one line for each thing that is missing.

    The keys of all rows are read and compared only where manifests tell of nothing that is missing.
    """
    if not _can_be_searched(store, name, identity):
        return (f"{identity.fp12} has no index yet",)
    if missing := progress(store, name, identity).missing:
        return missing
    rows = index_rows_equal_live_rows(store, name, identity)
    return () if rows.passed else (f"its index is not what is encoded: {rows.description}",)


def _can_be_searched(store: Store, name: str, identity: ModelIdentity) -> bool:
    registered = any(record.fingerprint == identity.fingerprint for record in records(store, name))
    return registered and bool(Generations(store, name, identity.fp12).numbers())


def _registered(store: Store, name: str, digits: str) -> ModelRecord:
    there = records(store, name)
    found = [record for record in there if record.fingerprint.startswith(digits.lower())]
    if not digits or len(found) != 1:
        known = ", ".join(record.fp12 for record in there) or "none"
        raise UnknownItem(
            f"{len(found)} fingerprints of model {name!r} start with {digits!r} (registered: {known}); "
            "`embeddings model list` shows them"
        )
    return found[0]


def _serving(store: Store, name: str) -> str | None:
    record = serving(store, name)
    return record.fingerprint if record else None


def _is_outlived(hold: Hold | None, wanted: str) -> bool:
    """Whether the settings ask for another fingerprint than when the hold began."""
    return hold is not None and hold.against != wanted

"""What a run would do, stage by stage, decided from states alone; pure, nothing is read or changed.

An image that one stage is about to make has no known content yet, so for the stages after it the counts are upper
bounds: a file that was only touched, or moved, costs them nothing in the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embeddings_dagster.ids import Key
from embeddings_dagster.stages.plan import Plan, plan
from embeddings_dagster.store import Failure

UNKNOWN = "?"  # the hash of an input that the run itself makes; equal to no real one

Hashes = Mapping[Key, str]


@dataclass(frozen=True)
class State:
    """One stage of one batch as it stands: rows and failures by key."""

    present: Hashes = field(default_factory=dict)
    failures: Mapping[Key, Failure] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchState:
    """All of one batch that decides what a run does: `ledger` as discovery would leave it, `converted` the regions that
    `rgb_images` wants of the raw rows there are now, `vectors` what a model would make of the pixels there are now, for
    those models whose vectors are not simply one for each region."""

    batch: str
    ledger: Hashes
    raw: State
    rgb: State
    converted: Hashes
    models: Mapping[str, State]
    vectors: Mapping[str, Hashes] = field(default_factory=dict)


@dataclass(frozen=True)
class StagePreview:
    """Counts of one stage of one batch. `retried`: recorded failures that are tried again; `waiting`: those not."""

    stage: str
    new: int
    changed: int
    retried: int
    kept: int
    waiting: int
    gone: int

    @property
    def todo(self) -> int:
        """Rows to make."""
        return self.new + self.changed + self.retried


def preview_batch(state: BatchState, *, retry_failed: bool = False, force: bool = False) -> list[StagePreview]:
    """The stages of one batch, in the order of the graph."""

    def planned(wanted: Hashes, there: State) -> Plan:
        return plan(wanted, there.present, there.failures, retry_failed=retry_failed, force=force)

    raw = planned(state.ledger, state.raw)
    kept = {key.image_id for key in raw.kept}
    converted = {key: value for key, value in state.converted.items() if key.image_id in kept}
    converted |= {Key(image_id, 0): UNKNOWN for image_id in raw.images}
    rgb = planned(converted, state.rgb)
    todo = dict.fromkeys(rgb.todo, UNKNOWN)
    encoded = {key: converted[key] for key in rgb.kept} | todo

    def wanted(model: str) -> Hashes:
        if model not in state.vectors:
            return encoded
        return {key: value for key, value in state.vectors[model].items() if key in rgb.kept} | todo

    found = [_counted("raw_images", raw), _counted("rgb_images", rgb)]
    return found + [
        _counted(f"{model}_embeddings", planned(wanted(model), there)) for model, there in state.models.items()
    ]


def _counted(stage: str, planned: Plan) -> StagePreview:
    return StagePreview(
        stage,
        len(planned.new),
        len(planned.changed),
        len(planned.retried),
        len(planned.kept),
        len(planned.failed),
        len(planned.gone),
    )


@dataclass(frozen=True)
class Pace:
    """What a stage took in past runs: rows it really made, seconds, bytes written."""

    rows: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from past runs; `unknown` names the stages that have none to go by."""

    seconds: float
    bytes: float
    unknown: tuple[str, ...]


def estimate(stages: Sequence[StagePreview], past: Mapping[str, Pace]) -> Estimate:
    """Scale past runs to the rows to make."""
    seconds = size = 0.0
    unknown = []
    for each in stages:
        pace = past.get(each.stage)
        if pace is not None and pace.rows:
            seconds += each.todo * pace.seconds / pace.rows
            size += each.todo * pace.bytes / pace.rows
        elif each.todo:
            unknown.append(each.stage)
    return Estimate(seconds, size, tuple(dict.fromkeys(unknown)))

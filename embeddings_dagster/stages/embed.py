"""`<model>_embeddings`: one vector a region, made only where no equal (input, fingerprint) has one already.

What is encoded, pictures or the texts that records carry, is said by the model's side; the rest is the same for both.
"""

from collections.abc import Collection, Iterator

from embeddings_dagster.encoders import ModelIdentity, identify
from embeddings_dagster.engines import Engine
from embeddings_dagster.ids import Key
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.calibration import bring_here, calibrate
from embeddings_dagster.stages.carry_out import Job, Made, by_image, carry_out
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.embed_pictures import Pictures
from embeddings_dagster.stages.embed_texts import Texts
from embeddings_dagster.stages.plan import Plan
from embeddings_dagster.stages.rgb import complete
from embeddings_dagster.stages.statistics import require_handed_over
from embeddings_dagster.stages.vector_inputs import rgb_rows, wanted_vectors
from embeddings_dagster.stages.vector_rows import BatchInputs, vector_row
from embeddings_dagster.store.tables import embeddings

UPSTREAM = "rgb_images"
RELIST_SECONDS = 30.0  # what other processes commit meanwhile may be missed that long: vectors are then computed twice


def dataset(model: str, identity: ModelIdentity) -> str:
    """Where the vectors of a model's fingerprint lie."""
    return f"embeddings/{model}/{identity.fp12}"


def run_embed(context: StageContext, name: str, model: ModelSettings, engine: Engine, batch: str) -> Account:
    """Bring the embeddings of one batch, by one model, to the state of its `rgb_images`.

    `name` is one of `settings.spaces`, `model` the settings' model of that name, perhaps with the run's own device,
    precision or batch size.

    Raises:
        UnknownItem: the batch has no complete `rgb_images` yet.
        ModelError: the model cannot be loaded.
        CountsDoNotReconcile: `rgb_images` counts other rows than it has; see also `carry_out`.
    """
    upstream = context.store.chain(UPSTREAM, batch)
    rgb = complete(upstream.latest(), UPSTREAM, batch)
    model = calibrate(context, name, model, batch)
    bring_here(context.store, name, model)
    identity = identify(model)
    rows = rgb_rows(upstream, rgb, identity.inputs)
    require_handed_over(f"{name}_embeddings", batch, "regions", rgb.counts.ok, len({row.key for row in rows}))
    wanted = wanted_vectors(identity.inputs, rows)
    inputs = (Texts if model.side == "text" else Pictures)(context, model, engine, upstream, rgb, wanted)
    work = _Work(context, name, identity, inputs)
    account = carry_out(
        context,
        Job(
            stage=f"{name}_embeddings",
            chain=context.store.chain(dataset(name, identity), batch),
            table=embeddings(identity.dimension),
            label={"fingerprint": identity.fingerprint},
            wanted=wanted,
            inputs={f"{UPSTREAM}/{batch}": {"version": rgb.version, "content": rgb.content}},
            make=work.make,
            unit="texts" if identity.inputs == "texts" else "regions",
        ),
    )
    if account.processed:
        context.store.vectors(name, identity.fp12).sync_batch(batch)
    return account


class _Work:
    """Makes the images of a plan: first those whose vectors exist elsewhere, then the rest by the model."""

    def __init__(self, context: StageContext, name: str, identity: ModelIdentity, inputs: BatchInputs) -> None:
        self._context, self._name, self._identity, self._inputs = context, name, identity, inputs

    def make(self, plan: Plan) -> Iterator[Made]:
        if not plan.todo:
            return
        left = dict.fromkeys(plan.todo)
        if not self._context.force:
            for made in self._reused(plan.todo):
                for row in made.rows:
                    del left[Key(made.image_id, int(str(row["region"])))]
                yield made
        if left:
            yield from self._inputs.encoded(left.keys())

    def _reused(self, todo: Collection[Key]) -> Iterator[Made]:
        wanted = self._inputs.wanted
        lookup = self._context.store.vectors(self._name, self._identity.fp12)
        lookup.sync(every=RELIST_SECONDS)
        found = lookup.find({wanted[key] for key in todo})
        for image_id, regions in by_image(todo).items():
            hashes = {region: wanted[Key(image_id, region)] for region in regions}
            if found and all(each in found for each in hashes.values()):
                rows = [
                    vector_row(Key(image_id, region), each, *found[each], self._context.run_id)
                    for region, each in hashes.items()
                ]
                yield Made(image_id, rows, reused=len(rows))

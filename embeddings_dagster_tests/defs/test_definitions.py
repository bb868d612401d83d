"""The whole of the definitions, as literals: whoever changes the graph changes this page, and sees what he changed."""

import dagster as dg
import pytest

from embeddings_dagster.definitions import build_defs
from embeddings_dagster.settings import Settings
from embeddings_dagster_tests.defs.making import make_settings

ASSETS = {
    # key: (deps, group, pool, partitioned, kinds, code version comes from the settings)
    "raw_images": ([], "images", None, True, {"python", "parquet"}),
    "rgb_images": (["raw_images"], "images", None, True, {"python", "parquet"}),
    "clip_embeddings": (["rgb_images"], "embeddings", "gpu", True, {"huggingface", "pytorch", "parquet"}),
    "dino_embeddings": (["rgb_images"], "embeddings", "gpu", True, {"huggingface", "pytorch", "parquet"}),
    "clip_index": (["clip_embeddings"], "indexes", "index_clip", False, {"faiss"}),
    "dino_index": (["dino_embeddings"], "indexes", "index_dino", False, {"faiss"}),
    "search_catalog": (["raw_images"], "catalog", "search_catalog", False, {"sqlite"}),
    "near_duplicates": (["clip_index", "rgb_images"], "analysis", None, False, {"python", "parquet"}),
    "embedding_map": (["clip_index", "rgb_images"], "analysis", None, False, {"python", "parquet"}),
    "clip_canaries": ([], "analysis", "gpu", False, {"python", "parquet"}),
    "dino_canaries": ([], "analysis", "gpu", False, {"python", "parquet"}),
}
CHECKS = {
    "raw_images": {"counts_reconcile": True},
    "rgb_images": {"counts_reconcile": True, "rgb_only": False},
    "clip_embeddings": {"counts_reconcile": True, "vectors_sound": True},
    "dino_embeddings": {"counts_reconcile": True, "vectors_sound": True},
    "clip_index": {"rows_equal_live_rows": True, "consumed_is_current": False, "recall": True},
    "dino_index": {"rows_equal_live_rows": True, "consumed_is_current": False, "recall": True},
    "search_catalog": {"rows_equal_live_rows": True, "consumed_is_current": False},
    "clip_canaries": {"no_drift": False},
    "dino_canaries": {"no_drift": False},
}
JOBS = {
    "embed_batches": {"raw_images", "rgb_images", "clip_embeddings", "dino_embeddings"},
    "refresh_indexes": {"clip_index", "dino_index", "search_catalog"},
    "everything": {
        "raw_images", "rgb_images", "clip_embeddings", "dino_embeddings", "clip_index", "dino_index", "search_catalog",
    },
    "analyse": {"near_duplicates", "embedding_map", "clip_canaries", "dino_canaries"},
    "discover": set(),
    "compact_indexes": set(),
    "refresh_catalogues": set(),
    "collect_garbage": set(),
}  # fmt: skip


@pytest.fixture
def definitions(tmp_path) -> dg.Definitions:
    return build_defs(make_settings(tmp_path, models=("clip", "dino"), owners=["team:pictures"], batches_per_run=3))


def test_assets(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    found = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        found[key.to_user_string()] = (
            sorted(parent.to_user_string() for parent in node.parent_keys),
            node.group_name,
            next(iter(node.pools), None),
            node.partitions_def is not None and node.partitions_def.name == "image_batches",
            set(node.kinds),
        )
        assert list(node.owners) == ["team:pictures"]
        assert node.code_version
    assert found == ASSETS


def test_partitioned_assets_take_the_batches_per_run_of_the_settings(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for name, (_, _, _, partitioned, _) in ASSETS.items():
        expected = dg.BackfillPolicy.multi_run(3) if partitioned else None
        assert graph.get(dg.AssetKey(name)).backfill_policy == expected


def test_checks_and_which_of_them_block(definitions: dg.Definitions) -> None:
    found: dict[str, dict[str, bool]] = {}
    for each in definitions.asset_checks or ():
        for spec in each.check_specs:
            found.setdefault(spec.asset_key.to_user_string(), {})[spec.name] = spec.blocking
    assert found == CHECKS


def test_jobs_and_their_assets(definitions: dg.Definitions) -> None:
    found = {}
    for name in JOBS:
        job = definitions.resolve_job_def(name)
        found[name] = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
        assert job.executor_def.name == "in_process"
        assert job.run_tags["embeddings/job"] == "true", "so that its runs are known as ours before they have a process"
    assert found == JOBS


def test_sensors_and_schedules_run_from_the_start(definitions: dg.Definitions) -> None:
    sensors = {
        each.name: (each.job_name, each.default_status.value, each.minimum_interval_seconds)
        for each in definitions.sensors
    }
    assert sensors == {
        "follow_sources": ("embed_batches", "RUNNING", 30),
        "follow_embeddings": ("refresh_indexes", "RUNNING", 30),
        "follow_segments": ("compact_indexes", "RUNNING", 30),
    }
    schedules = {
        each.name: (each.job_name, each.default_status.value, each.cron_schedule) for each in definitions.schedules
    }
    assert schedules == {
        "reconcile_batches": ("embed_batches", "RUNNING", "0 3 * * *"),
        "reconcile_indexes": ("refresh_indexes", "RUNNING", "0 3 * * *"),
        "compact_indexes": ("compact_indexes", "RUNNING", "15 * * * *"),
        "analyse": ("analyse", "RUNNING", "0 5 * * *"),
        "collect_garbage": ("collect_garbage", "RUNNING", "30 5 * * 0"),
    }


def test_run_config_is_described(definitions: dg.Definitions) -> None:
    fields = (
        definitions.resolve_asset_graph()
        .assets_def_for_key(dg.AssetKey("dino_embeddings"))
        .op.config_field.config_type.fields
    )
    assert set(fields) == {"device", "precision", "batch_size", "retry_failed", "force", "heal", "download"}
    assert all(field.description for field in fields.values())


def test_columns_of_the_store_are_shown(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    columns = {
        name: [column.name for column in graph.get(dg.AssetKey(name)).metadata["dagster/column_schema"].columns]
        for name in ("raw_images", "rgb_images", "dino_embeddings")
    }
    assert columns["dino_embeddings"] == [
        "image_id",
        "region",
        "input_hash",
        "embedding",
        "norm",
        "precision",
        "run_id",
    ]
    assert {"sha256", "width", "height"} <= set(columns["raw_images"])
    assert {"image", "thumbnail", "passthrough"} <= set(columns["rgb_images"])


def test_op_tags_of_the_settings_reach_every_asset(tmp_path) -> None:
    tags = {"dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}}
    definitions = build_defs(make_settings(tmp_path, op_tags=tags))
    for asset in definitions.assets or ():
        assert "nvidia.com/gpu" in str(asset.op.tags["dagster-k8s/config"])


def test_another_background_is_another_code_version(settings: Settings) -> None:
    def version(chosen: Settings) -> str | None:
        return build_defs(chosen).resolve_asset_graph().get(dg.AssetKey("rgb_images")).code_version

    black = settings.model_copy(update={"rgb": settings.rgb.model_copy(update={"background": "#000000"})})
    assert version(settings) == version(settings) != version(black)

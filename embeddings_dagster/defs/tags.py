"""Tags and names that runs of this project carry, and what each is for."""

PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"

RUN_KEY = "dagster/run_key"

JOB = "embeddings/job"  # `true` on every run of a job of ours, whoever starts it
HOST = "embeddings/host"  # where the run's process is, set when it starts
PROCESS = "embeddings/process"  # that process: its id, and when it started, for ids are used again
SINCE = "embeddings/since"  # the ledger version of the batch's change that the run was asked for
STATE = "embeddings/state"  # for an index: the state of its inputs that the run was asked for
MODEL = "embeddings/model"  # for an index: whose
CATALOG = "embeddings/catalog"  # `true` for a refresh of the catalogue
COMPACTION = "embeddings/compaction"  # `true` for a compaction of the indexes
GC = "embeddings/gc"  # `true` for a garbage collection
DISCOVERED = "embeddings/discovered"  # who asked has just read the source: the run need not
LAUNCHER = "embeddings/launcher"  # `cli` for runs that this project executes itself

OURS = {JOB: "true"}

GPU_POOL = "gpu"
CATALOG_POOL = "search_catalog"  # lets one refresh of the catalogue run at a time


def index_pool(model: str) -> str:
    """The pool that lets one refresh or compaction of a model's index run at a time."""
    return f"index_{model}"

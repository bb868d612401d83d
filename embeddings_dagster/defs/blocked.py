"""Blocking checks that failed in a run.

In a run of one batch Dagster keeps what follows from starting. In a run of many it must not, or one batch would hold up
the others; so an index looks by itself whether what it would take in is sound.
"""

from collections.abc import Collection

import dagster as dg

UNREADABLE = "unreadable_batches"  # of those that are wrong, in the metadata of a check


def is_blocking(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Whether a check failed that nothing may go on from."""
    return not evaluation.passed and bool(evaluation.blocking) and evaluation.severity == dg.AssetCheckSeverity.ERROR


def holds_up_indexes(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Whether no index may be refreshed after a run: something was lost, and the next run makes it. What is damaged on
    the disk may stay so for long, and is one batch's own."""
    wrong, unreadable = (_batches(evaluation, name) for name in ("wrong_batches", UNREADABLE))
    return is_blocking(evaluation) and (not wrong or bool(wrong - unreadable))


def _batches(evaluation: dg.AssetCheckEvaluation, name: str) -> set[str]:
    value = evaluation.metadata[name].value if name in evaluation.metadata else []
    return set(value) if isinstance(value, list) else set()


def require_unblocked(context: dg.AssetExecutionContext, upstream: Collection[str]) -> None:
    """Raises Failure: a blocking check of one of these assets failed in this run."""
    wrong = []
    for entry in context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = entry.get_dagster_event().asset_check_evaluation_data
        if evaluation.asset_key.to_user_string() in upstream and is_blocking(evaluation):
            wrong.append(f"{evaluation.asset_key.to_user_string()}: {evaluation.description}")
    if wrong:
        raise dg.Failure("\n".join(["not refreshed, for a check failed in this run:", *wrong]), allow_retries=False)

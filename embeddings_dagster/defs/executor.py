"""The executor of all our jobs: Dagster's in-process one, cured of four things.

- A run that waits for a pool slot ignored SIGTERM and used a whole core. Ours says who holds the slot, sleeps, stops on
  the signal, and takes over at once when the holder's process is gone.
- A run that waits to try again was deaf to a stop until then; and where the clock was set back meanwhile, it waited as
  much longer. Ours listens, and counts the seconds.
- Pools had no limit until somebody configured one. Ours get theirs from the settings before the first claim.
- One failed batch in a run of many kept the others from going on, and gave none of them its own data version. In such a
  run an asset reports its batches itself (see `batches.py`), and the next asset goes on with those that are whole.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.storage.tags import EXTERNALLY_MANAGED_ASSETS_TAG
from dagster._utils.interrupts import check_captured_interrupt

from embeddings_dagster.defs import lifecycle, tags

WAIT_SECONDS = 0.25
LOOK_FOR_DEAD_SECONDS = 2.0
SAY_SECONDS = 30.0
LONGEST_PAUSE = 60.0  # between two tries to get a slot; Dagster's own are shorter


class PatientClaims(InstanceConcurrencyContext):
    """Claims of pool slots for one run that executes in this process; its waiting can be interrupted."""

    def __init__(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        super().__init__(instance, run)
        self._asked_instance = instance
        self._run = run
        self._looked = 0.0
        self._said = 0.0

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step may start. Raises DagsterExecutionInterruptedError when told to stop meanwhile."""
        if super().claim(concurrency_key, step_key, step_priority):
            return True
        if check_captured_interrupt():
            raise dg.DagsterExecutionInterruptedError(f"stopped while {step_key} waited for pool {concurrency_key!r}")
        now = time.monotonic()
        if self._pending_timeouts.get(step_key, 0.0) - time.time() > LONGEST_PAUSE:  # the clock was set back
            self._pending_timeouts[step_key] = 0.0
        if now - self._looked > LOOK_FOR_DEAD_SECONDS:
            self._looked = now
            if lifecycle.bury(self._asked_instance):
                self._pending_timeouts[step_key] = 0.0
        if now - self._said > SAY_SECONDS:
            self._said = now
            self._say(concurrency_key, step_key)
        return False

    def _say(self, pool: str, step_key: str) -> None:
        slots = self._asked_instance.event_log_storage.get_concurrency_info(pool)
        holders = ", ".join(sorted({slot.run_id for slot in slots.claimed_slots})) or "nobody: its limit is 0"
        self._asked_instance.report_engine_event(
            f"{step_key} waits for one of {slots.slot_count} slots of pool {pool!r}, held by {holders}. It goes on by "
            "itself; terminate the run to stop waiting.",
            self._run,
        )

    def interval_to_next_pending_claim_check(self) -> float:
        return WAIT_SECONDS  # Dagster's own answer is never above 0: its loop spins

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[arg-type]
        # Nothing of this run executes anywhere else, so no slot may outlive it, however it ended.
        if self._asked_instance.event_log_storage.supports_global_concurrency_limits:
            self._asked_instance.event_log_storage.free_concurrency_slots_for_run(self._run.run_id)


class PatientExecution(ActiveExecution):
    """The steps of one run; the wait for those that are to be tried again can be interrupted."""

    def sleep_til_ready(self) -> None:
        """Sleep a little, or until the next step is due. Raises DagsterExecutionInterruptedError when told to stop."""
        if check_captured_interrupt():
            raise dg.DagsterExecutionInterruptedError("stopped while a step waited to be tried again")
        pause = min(max(self.sleep_interval(), 0.0), WAIT_SECONDS)  # type: ignore[no-untyped-call]
        clock, began = time.time(), time.monotonic()
        time.sleep(pause)
        set_back = time.monotonic() - began - (time.time() - clock)
        if set_back > LOOK_FOR_DEAD_SECONDS:
            for step in self._waiting_to_retry:
                self._waiting_to_retry[step] -= set_back


class PatientPlan(ExecutionPlan):
    """A plan that is executed as above."""

    def start(self, retry_mode: RetryMode, *given: Any, **named: Any) -> ActiveExecution:
        """See `ExecutionPlan.start`."""
        return PatientExecution(self, retry_mode, *given, **named)


def _cancel_own(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """A run that we execute ourselves and that was told to stop was canceled; to Dagster it would have failed."""
    current = instance.get_run_by_id(run.run_id)
    if current and current.status == dg.DagsterRunStatus.STARTED and tags.LAUNCHER in current.tags:
        instance.report_run_canceling(current)


def _iterate(job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
    with PatientClaims(job_context.instance, job_context.dagster_run) as claims:
        yield from inner_plan_execution_iterator(job_context, PatientPlan(**execution_plan._asdict()), claims)


class BatchExecutor(InProcessExecutor):
    """Executes every step in this process, one after the other."""

    def __init__(self, retries: RetryMode, pool_limits: dict[str, int]) -> None:
        super().__init__(retries)
        self._pool_limits = pool_limits

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """See `Executor.execute`."""
        instance, run = plan_context.instance, plan_context.dagster_run
        instance.add_run_tags(run.run_id, lifecycle.process_tags())
        lifecycle.bury(
            instance
        )  # whoever started this run: the UI, the daemon, `dagster job launch`, or a launch of ours
        lifecycle.set_pool_limits(instance, self._pool_limits)
        many = run.tags.get(tags.RANGE_START) != run.tags.get(tags.RANGE_END)
        if many:
            run = run.with_tags({**run.tags, EXTERNALLY_MANAGED_ASSETS_TAG: "true"})
        steps = ExecuteRunWithPlanIterable(
            execution_plan=plan_context.execution_plan,
            iterator=_iterate,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=plan_context.execution_plan,
                run_config=plan_context.run_config,
                dagster_run=run,
                instance=instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=StepDependencyConfig(require_upstream_step_success=not many),
            ),
        )
        try:
            yield from steps
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            _cancel_own(instance, run)
            raise


def batch_executor(pool_limits: dict[str, int]) -> dg.ExecutorDefinition:
    """The executor definition; takes the same run config as Dagster's `in_process`."""

    @dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
    def in_process(context: dg.InitExecutorContext) -> BatchExecutor:
        retries = cast("Mapping[str, Mapping[str, object]]", context.executor_config["retries"])
        return BatchExecutor(RetryMode.from_config(retries) or RetryMode.ENABLED, pool_limits)

    return in_process

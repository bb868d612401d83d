"""A sensor, tick by tick, with what the daemon does with each."""

import dagster as dg

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.partitions import IMAGE_BATCHES
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.sensors import FOLLOW_SOURCES


class Ticking:
    """A sensor, and what the daemon does with a tick's result.

    The first tick of a source whose batches the ledger cuts leaves an empty ledger, version 1: its files have had one
    look. So its run keys begin at 2.
    """

    def __init__(self, project: Project, instance: dg.DagsterInstance, sensor: str = FOLLOW_SOURCES) -> None:
        self.definitions = project_defs(project)
        self.repository = self.definitions.get_repository_def()
        self.sensor = self.repository.get_sensor_def(sensor)
        self.project, self.instance = project, instance
        self.skipped = ""

    def __call__(self) -> list[str]:
        """One tick; the run keys it asked for, those left out that a run has had before, as the daemon does."""
        return [str(request.run_key) for request in self.requests_now()]

    def requests_now(self) -> list[dg.RunRequest]:
        """One tick; the requests themselves."""
        context = dg.SensorEvaluationContext(
            instance_ref=self.instance.get_ref(),
            instance=self.instance,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=None,
            repository_name=None,
            repository_def=self.repository,
        )
        result = self.sensor.evaluate_tick(context)
        assert result.cursor is None, "nothing depends on what an earlier tick saw"
        self.skipped = result.skip_message or ""
        for change in result.dynamic_partitions_requests or ():
            assert len(change.partition_keys) <= 5000
            if isinstance(change, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(IMAGE_BATCHES, list(change.partition_keys))
            else:
                for key in change.partition_keys:
                    self.instance.delete_dynamic_partition(IMAGE_BATCHES, key)
        self.requests = [request for request in result.run_requests or () if not self._had(request.run_key)]
        return self.requests

    def _had(self, run_key: str | None) -> bool:
        return bool(self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": str(run_key)})))

    def launch(self, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> list[dg.DagsterRun]:
        """Create the runs of the last tick, with the tags the daemon gives them."""
        job = self.repository.get_job(self.sensor.job_name)
        return [
            self.instance.create_run_for_job(
                job, tags={**request.tags, "dagster/run_key": str(request.run_key)}, status=status
            )
            for request in self.requests
        ]

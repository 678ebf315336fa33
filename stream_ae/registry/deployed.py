"""How deployed versions do, in MLflow: one run each, in the experiment of the pipeline."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from stream_ae.errors import ModelError
from stream_ae.ports import DeployedRun, Point
from stream_ae.records import ModelIdentity
from stream_ae.registry.experiment import experiment_id
from stream_ae.registry.tracking import bounded, connect, says_missing
from stream_ae.settings import MlflowSettings

DEPLOYED = "stream_ae.deployed"
VERSION = "stream_ae.version"
METRICS_AT_ONCE = 1000


class MlflowRuns:
    """Implements `ports.RunLog`. The step of a point is the seconds since the version came into service first, so
    that curves of several versions lie over each other.

    A run is found by the digest in its tag, so that a monitor that starts again, or a version that is rolled back to,
    goes on in the run it had.
    """

    def __init__(self, settings: MlflowSettings, pipeline: str) -> None:
        self._uri = settings.tracking_uri
        self._client: Any = connect(settings)
        self._name = pipeline

    def open(self, version: ModelIdentity, at_ms: int) -> DeployedRun:
        with bounded(self._uri, f"run of version {version.version} of {self._name} not opened"):
            experiment = experiment_id(self._client, self._uri, self._name)
            same = f"tags.`{DEPLOYED}` = '{version.digest}'"
            found = self._client.search_runs([experiment], same, max_results=1, order_by=["attributes.start_time ASC"])
            if not found:
                tags = {DEPLOYED: version.digest, VERSION: version.version}
                name = f"version {version.version} in service"
                found = [self._client.create_run(experiment, at_ms, tags, name)]
            elif found[0].info.status != "RUNNING":
                self._client.update_run(found[0].info.run_id, status="RUNNING")
        return DeployedRun(found[0].info.run_id, int(found[0].info.start_time), dict(found[0].data.tags))

    def write(self, run: DeployedRun, points: Sequence[Point]) -> None:
        metrics = [
            Metric(name, value, point.at_ms, max(point.at_ms - run.began_ms, 0) // 1000)
            for point in points
            for name, value in point.metrics.items()
        ]
        with bounded(self._uri, f"metrics of run {run.id} not written"):
            for begin in range(0, len(metrics), METRICS_AT_ONCE):
                self._client.log_batch(run.id, metrics=metrics[begin : begin + METRICS_AT_ONCE])

    def tag(self, run: DeployedRun, name: str, value: str) -> None:
        with bounded(self._uri, f"tag {name} of run {run.id} not set"):
            if value:
                self._client.set_tag(run.id, name, value)
                return
            try:
                self._client.delete_tag(run.id, name)
            except MlflowException as error:
                if not says_missing(error):
                    raise

    def picture(self, run: DeployedRun, name: str, png: bytes) -> None:
        place = PurePosixPath(name)
        folder = None if place.parent == PurePosixPath() else str(place.parent)
        # Files go through another door of MLflow than runs do, which would take them for a deleted one.
        with bounded(self._uri, f"picture {name} of run {run.id} not kept"), TemporaryDirectory() as work:
            if self._client.get_run(run.id).info.lifecycle_stage != "active":
                raise ModelError(f"run {run.id} is deleted: open it again")
            file = Path(work) / place.name
            file.write_bytes(png)
            self._client.log_artifact(run.id, str(file), folder)

    def close(self, run: DeployedRun) -> None:
        with bounded(self._uri, f"run {run.id} not ended"):
            self._client.set_terminated(run.id, "FINISHED")

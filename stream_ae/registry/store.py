"""Model versions in MLflow: folders, numbers, and the alias that names the champion."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.artifacts
from mlflow.entities import LoggedModelOutput, Metric, Param
from mlflow.exceptions import MlflowException

from stream_ae.clock import Clock, SystemClock
from stream_ae.digest import folder_digest
from stream_ae.errors import ModelError
from stream_ae.records import ModelVersion
from stream_ae.registry.dataset import dataset_of
from stream_ae.registry.experiment import experiment_id
from stream_ae.registry.packaging import DATA_PATH, Place, channels_of, lineage_of, packaged, parameters
from stream_ae.registry.tracking import bounded, connect, over_http, says_exists, says_missing
from stream_ae.settings import MlflowSettings

CHAMPION = "champion"
DIGEST = "digest"
PAGE = 100
FILES_GONE = "put them back, or choose another version with `stream-ae models promote`"


class MlflowStore:
    """Implements `ports.ModelStore`: one experiment and one registered model per pipeline, one run per version.

    Safe to share between threads. Over HTTP every call is bounded by `mlflow.timeout_s`.
    """

    def __init__(self, settings: MlflowSettings, model_name: str, clock: Clock | None = None) -> None:
        self._uri = settings.tracking_uri
        self._client: Any = connect(settings)
        self._name = model_name
        self._clock = clock or SystemClock()

    def register(
        self,
        folder: Path,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        pictures: Mapping[str, bytes] | None = None,
        description: str = "",
    ) -> ModelVersion:
        digest = folder_digest(folder)
        with bounded(self._uri, f"version of {self._name} not registered"):
            experiment = experiment_id(self._client, self._uri, self._name)
            with self._run(experiment, {**tags, DIGEST: digest}) as run_id:
                self._log_numbers(run_id, folder, metrics)
                self._log_dataset(run_id, folder, tags)
                self._log_pictures(run_id, pictures or {})
                model = self._log_model(experiment, run_id, folder)
                made = self._create_version(run_id, model, {**tags, DIGEST: digest}, description)
                self._client.update_run(run_id, name=f"version {made.version}")
        return self._version_of(made, {})

    def versions(self) -> list[ModelVersion]:
        with bounded(self._uri, f"versions of {self._name} not read"):
            aliases = self._aliases()
            found: list[Any] = []
            token = None
            while True:
                page = self._client.search_model_versions(f"name='{self._name}'", max_results=PAGE, page_token=token)
                found += page
                token = page.token
                if not token:
                    break
        return sorted((self._version_of(version, aliases) for version in found), key=lambda v: int(v.version))

    def champion(self) -> ModelVersion | None:
        with bounded(self._uri, f"champion of {self._name} not read"):
            aliases = self._aliases()
            if CHAMPION not in aliases:
                return None
            version = self._client.get_model_version(self._name, aliases[CHAMPION])
        return self._version_of(version, aliases)

    def promote(self, version: str) -> ModelVersion:
        with bounded(self._uri, f"version {version} of {self._name} not promoted"):
            found = self._existing(version)
            self._client.set_registered_model_alias(self._name, CHAMPION, version)
            return self._version_of(found, self._aliases())

    def tag(self, version: str, tags: Mapping[str, str], description: str = "") -> None:
        with bounded(self._uri, f"version {version} of {self._name} not tagged"):
            self._existing(version)
            for name, text in tags.items():
                self._client.set_model_version_tag(self._name, version, name, text)
            if description:
                self._client.update_model_version(self._name, version, description)

    def fetch(self, version: str, destination: Path) -> Path:
        destination.mkdir(parents=True, exist_ok=True)
        with (
            bounded(self._uri, f"version {version} of {self._name} not fetched"),
            tempfile.TemporaryDirectory(dir=destination.parent, prefix=".download-") as arriving,
        ):
            self._existing(version)
            uri = self._client.get_model_version_download_uri(self._name, version)
            # What is not there fails on some stores in words of their own, as an outage would.
            if not mlflow.artifacts.list_artifacts(f"{uri}/{DATA_PATH}", tracking_uri=self._uri):
                raise ModelError(f"the files of version {version} of {self._name} are gone from MLflow: {FILES_GONE}")
            fetched = mlflow.artifacts.download_artifacts(
                f"{uri}/{DATA_PATH}", dst_path=arriving, tracking_uri=self._uri, registry_uri=self._uri
            )
            shutil.copytree(fetched, destination, dirs_exist_ok=True)
        return destination

    @contextmanager
    def _run(self, experiment: str, tags: Mapping[str, str]) -> Iterator[str]:
        """A run that ends as FINISHED, or as FAILED with the block."""
        run_id = self._client.create_run(experiment, run_name="registering", tags=tags).info.run_id
        try:
            yield run_id
        except BaseException:
            self._client.set_terminated(run_id, "FAILED")
            raise
        self._client.set_terminated(run_id, "FINISHED")

    def _log_numbers(self, run_id: str, folder: Path, metrics: Mapping[str, float]) -> None:
        now_ms = self._clock.wall_ms()
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now_ms, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in parameters(folder).items()],
        )

    def _log_dataset(self, run_id: str, folder: Path, tags: Mapping[str, str]) -> None:
        dataset = dataset_of({**lineage_of(folder), **tags}, channels_of(folder))
        if dataset is not None:
            self._client.log_inputs(run_id, [dataset])

    def _log_pictures(self, run_id: str, pictures: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as work:
            for name, content in pictures.items():
                file = Path(work) / name
                file.write_bytes(content)
                self._client.log_artifact(run_id, str(file))

    def _log_model(self, experiment: str, run_id: str, folder: Path) -> Any:
        model = self._client.create_logged_model(experiment, self._name, run_id)
        with tempfile.TemporaryDirectory() as work:
            package = Path(work) / "model"
            packaged(folder, package, Place(run_id, model.model_id, model.artifact_location))
            self._client.log_model_artifacts(model.model_id, str(package))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
        return model

    def _create_version(self, run_id: str, model: Any, tags: Mapping[str, str], description: str) -> Any:
        try:
            self._client.create_registered_model(self._name)
        except MlflowException as error:
            if not says_exists(error):
                raise
        # In process MLflow would look models:/ addresses up in its global tracking URI, which need not be ours.
        source = f"models:/{model.model_id}" if over_http(self._uri) else model.artifact_location
        return self._client.create_model_version(
            self._name, source, run_id, tags=dict(tags), description=description, model_id=model.model_id
        )

    def _aliases(self) -> dict[str, str]:
        """Alias -> version; empty before the first registration. (Versions that are searched for come without.)"""
        try:
            aliases = self._client.get_registered_model(self._name).aliases
        except MlflowException as error:
            if says_missing(error):
                return {}
            raise
        return {alias: str(version) for alias, version in aliases.items()}

    def _existing(self, version: str) -> Any:
        if not version.isdecimal():
            raise ModelError(f"{version!r} is not a version number: see `stream-ae models list`")
        try:
            return self._client.get_model_version(self._name, version)
        except MlflowException as error:
            if says_missing(error):
                raise ModelError(f"{self._name} has no version {version}: see `stream-ae models list`") from error
            raise

    def _version_of(self, found: Any, aliases: Mapping[str, str]) -> ModelVersion:
        # An int from a database, text from a server.
        version = str(found.version)
        return ModelVersion(
            name=self._name,
            version=version,
            digest=found.tags.get(DIGEST, ""),
            created_ms=int(found.creation_timestamp),
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == version)),
            tags={name: text for name, text in found.tags.items() if name != DIGEST},
            description=found.description or "",
        )

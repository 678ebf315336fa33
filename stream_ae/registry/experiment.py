"""The experiment of a pipeline: what its versions were made of, and how they do in service."""

from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from stream_ae.errors import ConfigError
from stream_ae.registry.tracking import over_http, says_exists

# Without it the UI opens an experiment as one about language models.
MACHINE_LEARNING = {"mlflow.experimentKind": "custom_model_development"}


def experiment_id(client: Any, uri: str, name: str) -> str:
    """The pipeline's experiment, created explicitly: the default one keeps its files wherever it was made."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if over_http(uri) else _artifacts_beside(uri)
        try:
            return str(client.create_experiment(name, location, tags=MACHINE_LEARNING))
        except MlflowException as error:
            if not says_exists(error):
                raise
            # Somebody else was first.
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise ConfigError(f"experiment {name} is deleted in MLflow: restore it, or choose another pipeline name")
    return str(found.experiment_id)


def _artifacts_beside(uri: str) -> str | None:
    """A folder beside an SQLite file; other databases use MLflow's default."""
    path = uri.removeprefix("sqlite:///")
    return (Path(path).absolute().parent / "artifacts").as_uri() if path != uri else None

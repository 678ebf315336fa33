"""A version folder as an MLflow model: for its UI, `mlflow models serve` and Spark; workers read the folder itself."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from stream_ae.errors import ModelError

# Named, not imported: it loads the model, and this room knows no models.
LOADER_MODULE = "stream_ae.pyfunc"
VERSION_FOLDER = "version"
# Where pyfunc puts what it is given as data.
DATA_PATH = f"data/{VERSION_FOLDER}"
# What the configuration of stream profiles says of itself: nothing that MLflow could run on rows.
PROFILES = "profiles"
# What the configuration of a version for frames says of itself.
IMAGES = "images"
# Input examples are stored twice, as text: two rows say as much as two thousand.
EXAMPLE_ROWS = 2
# MLflow takes 6000 characters; nobody reads them.
LONGEST_PARAMETER = 250


@dataclass(frozen=True, slots=True)
class Place:
    """Where MLflow wants the model: the ids that the MLmodel file repeats."""

    run_id: str
    model_id: str
    artifact_location: str


def packaged(folder: Path, destination: Path, place: Place) -> None:
    """Write `folder` as a pyfunc model to `destination`, which does not exist yet; what is no model, as it is."""
    config = read_config(folder)
    if config.get("holds") == PROFILES:
        shutil.copytree(folder, destination / DATA_PATH)
        return
    named = destination.parent / VERSION_FOLDER
    shutil.copytree(folder, named)
    channels = _channels(config, folder)
    frame = _frame(config)
    mlflow.pyfunc.save_model(
        path=str(destination),
        loader_module=LOADER_MODULE,
        data_path=str(named),
        mlflow_model=Model(
            artifact_path=place.artifact_location,
            run_id=place.run_id,
            model_id=place.model_id,
            model_uuid=place.model_id,
        ),
        signature=_signature(channels) if frame is None else _frame_signature(frame),
        # Frames would take half a megabyte of text.
        input_example=np.zeros((EXAMPLE_ROWS, len(channels)), np.float32) if frame is None else None,
        pip_requirements=[f"stream-ae=={version('stream-ae')}"],
    )


def parameters(folder: Path) -> dict[str, str]:
    """What a person wants to compare between versions: the configuration's own short values, by dotted name."""
    return dict(_short_values(read_config(folder)))


def channels_of(folder: Path) -> list[str]:
    """The names of a sample's values. Raises ModelError if the folder names none."""
    return _channels(read_config(folder), folder)


def lineage_of(folder: Path) -> dict[str, str]:
    """What the version says of how it was made. Raises ModelError if the folder is not a version."""
    found = read_config(folder).get("lineage")
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def read_config(folder: Path) -> dict[str, Any]:
    """The version's `config.json` as plain JSON. Raises ModelError if the folder is not a version."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}): a version folder holds a config.json") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} is not a JSON object: a version folder holds a config.json")
    return config


def _channels(config: Mapping[str, Any], folder: Path) -> list[str]:
    channels = config.get("channels")
    if not isinstance(channels, list) or not channels:
        raise ModelError(f"{folder / 'config.json'} names no channels: save the model again")
    return [str(channel) for channel in channels]


def _signature(channels: list[str]) -> ModelSignature:
    """Rows (N, C) in time order in; a table with a row for each out (`stream_ae.pyfunc`)."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(channels)))]),
        outputs=Schema(
            [
                ColSpec("double", "score"),
                ColSpec("boolean", "flag"),
                *(ColSpec("float", f"denoised_{channel}") for channel in channels),
            ]
        ),
    )


def _frame(config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """(C, H, W), where the version is of frames."""
    frame = config.get("frame") if config.get("holds") == IMAGES else None
    return tuple(int(side) for side in frame) if isinstance(frame, list) else None


def _frame_signature(frame: tuple[int, ...]) -> ModelSignature:
    """Frames (N, C, H, W) in; a table with a row for each out (`stream_ae.pyfunc`)."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *frame))]),
        outputs=Schema([ColSpec("double", "score"), ColSpec("boolean", "flag")]),
    )


def _short_values(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _short_values(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float) or (isinstance(value, list) and len(str(value)) <= LONGEST_PARAMETER):
            yield f"{prefix}{name}", str(value)[:LONGEST_PARAMETER]

"""A version folder of profiles: `config.json` and `profiles.safetensors`. Loading runs no code from it."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Meta, Struct
from numpy.typing import NDArray
from safetensors import SafetensorError

from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, ModelError
from stream_ae.flow.profiles import Cleaned, Profiles
from stream_ae.records import ModelIdentity

SCHEMA: Final = 2
CONFIG = "config.json"
ARRAYS = "profiles.safetensors"
# Beyond it float32 cannot carry values there and back.
LARGEST_FACTOR = 1e6
AGAIN = "learn them again with `stream-ae adapt`"

Names = Annotated[tuple[str, ...], Meta(min_length=1)]


class ProfilesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `config.json`; the numbers of the streams lie beside it, in the order of `streams`."""

    schema: Literal[1, 2] = SCHEMA
    holds: Literal["profiles"] = "profiles"
    model: ModelIdentity
    channels: Names
    streams: Names
    arrays_sha256: str


def save(profiles: Profiles, folder: Path) -> None:
    """Write the folder; the same profiles give the same bytes. What was there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = safetensors.numpy.save(
        {name: np.ascontiguousarray(getattr(profiles, name), dtype) for name, dtype in _DTYPES.items()}
    )
    config = ProfilesConfig(
        model=profiles.model,
        channels=profiles.channels,
        streams=profiles.streams,
        arrays_sha256=hashlib.sha256(arrays).hexdigest(),
    )
    (folder / ARRAYS).write_bytes(arrays)
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config, order="sorted"), indent=2) + b"\n")


def load(folder: Path) -> Profiles:
    """The profiles that `save` wrote, identified by the folder's name and digest until they are given their version.

    Raises DigestError if the arrays are not those that the configuration was written with, ModelError if anything else
    is missing, unreadable or does not fit together.
    """
    config = _config(folder / CONFIG)
    content = _bytes(folder / ARRAYS)
    if hashlib.sha256(content).hexdigest() != config.arrays_sha256:
        raise DigestError(f"{folder / ARRAYS} is not the file that {CONFIG} was written with: {AGAIN}")
    try:
        arrays = safetensors.numpy.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{folder / ARRAYS} is not a safetensors file ({error}): {AGAIN}") from error
    if config.schema == 1:
        arrays.setdefault("cleaned", np.zeros((len(config.streams), len(config.channels)), np.int8))
    _check(arrays, config, folder / ARRAYS)
    return Profiles(
        identity=ModelIdentity(folder.resolve().name, "0", folder_digest(folder)),
        model=config.model,
        channels=config.channels,
        streams=config.streams,
        **{name: arrays[name] for name in _DTYPES},
    )


_DTYPES: dict[str, Any] = {
    "model_centre": np.float32,
    "model_scale": np.float32,
    "centre": np.float32,
    "scale": np.float32,
    "threshold": np.float64,
    "cleaned": np.int8,
}


def _config(path: Path) -> ProfilesConfig:
    try:
        config = msgspec.json.decode(_bytes(path), type=ProfilesConfig)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not a configuration of profiles: {error}; {AGAIN}") from error
    for what in ("channels", "streams"):
        if len(set(getattr(config, what))) != len(getattr(config, what)):
            raise ModelError(f"{path} names two {what} alike: {AGAIN}")
    return config


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): profiles are a folder of {CONFIG} and {ARRAYS}; {AGAIN}"
        ) from error


def _check(arrays: dict[str, NDArray[Any]], config: ProfilesConfig, path: Path) -> None:
    for name in sorted(arrays.keys() ^ _DTYPES.keys()):
        raise ModelError(f"{path}: array {name} is {'missing' if name in _DTYPES else 'not known'}: {AGAIN}")
    streams, channels = len(config.streams), len(config.channels)
    shapes = {"threshold": (streams,), "centre": (streams, channels), "scale": (streams, channels)}
    shapes["cleaned"] = (streams, channels)
    for name, array in arrays.items():
        expected = shapes.get(name, (channels,))
        if array.shape != expected or array.dtype != _DTYPES[name]:
            raise ModelError(f"{path}: array {name} is {array.dtype} {array.shape}, not {expected}: {AGAIN}")
        if not np.isfinite(array).all():
            raise ModelError(f"{path}: array {name} holds NaN or infinite values: {AGAIN}")
        if name.endswith("scale") and not (array > 0).all():
            raise ModelError(f"{path}: array {name} must be above 0 everywhere: {AGAIN}")
    if not np.isin(arrays["cleaned"], list(Cleaned)).all():
        raise ModelError(f"{path}: array cleaned holds other numbers than {[int(how) for how in Cleaned]}: {AGAIN}")
    with np.errstate(over="ignore"):
        factor = arrays["scale"] / arrays["model_scale"]
    if not ((factor > 1 / LARGEST_FACTOR) & (factor < LARGEST_FACTOR)).all():
        raise ModelError(f"{path}: a stream's scale is not within {LARGEST_FACTOR:g} times the model's: {AGAIN}")

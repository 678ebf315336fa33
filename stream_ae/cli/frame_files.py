"""Frames in files: PNG, JPEG and npy, named one by one or by their folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stream_ae.errors import ConfigError, RecordError
from stream_ae.flow.images.codec import decode_frame
from stream_ae.flow.images.frame import FrameLimits
from stream_ae.records import Float32
from stream_ae.settings import ImageSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")


def read_frames(given: Sequence[Path], settings: ImageSettings) -> Float32:
    """(N, C, H, W) all frames, in the order given, of a folder in the order of the names.

    Raises ConfigError for a file that is no frame, and for one of another size than the first.
    """
    files = [file for one in given for file in _files(one)]
    frames: list[Float32] = []
    for file in files:
        try:
            values = decode_frame(_bytes(file), (), FrameLimits(max_pixels=settings.max_pixels)).values
        except RecordError as error:
            raise ConfigError(f"{file}: {error}") from error
        if frames and values.shape != frames[0].shape:
            raise ConfigError(
                f"{file} is a frame {values.shape}, {files[0]} is {frames[0].shape} (channels, height, width): a "
                "model is for frames of one size"
            )
        frames.append(values)
    return np.stack(frames)


def _files(one: Path) -> list[Path]:
    if not one.is_dir():
        return [one]
    found = sorted(file for file in one.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise ConfigError(f"folder {one} holds no file that ends with {', '.join(SUFFIXES)}")
    return found


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror})") from error

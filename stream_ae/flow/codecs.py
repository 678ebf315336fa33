"""The codec of a pipeline: what its records are is set, and its model must be of the same."""

from collections.abc import Sequence

from stream_ae.errors import ModelError
from stream_ae.flow.codec import Codec
from stream_ae.flow.images.frame_codec import FrameCodec
from stream_ae.flow.json_codec import JsonCodec
from stream_ae.flow.model import ServedModel
from stream_ae.settings import DecodeSettings, Settings


def codec_of(model: ServedModel, settings: Settings) -> Codec:
    """Raises ModelError if the model is not for such records, ConfigError where the extra `images` is missing."""
    wrong = unfit(model, settings.decode)
    if wrong is not None:
        raise ModelError(f"model {model.identity.name}/{model.identity.version} {wrong}")
    return codec_for(model.channels, model.frame, settings)


def unfit(model: ServedModel, settings: DecodeSettings) -> str | None:
    """What makes a model useless for what the records are set to be, and what to do about it."""
    if (settings.records == "images") == (model.frame is not None):
        return None
    kind = "frames" if model.frame is not None else "values of sensors"
    return (
        f"is for {kind}, but decode.records is {settings.records}: set it as the records are, or give the model a "
        "pipeline name of its own"
    )


def codec_for(channels: Sequence[str], frame: tuple[int, int, int] | None, settings: Settings) -> Codec:
    """For records with values of these channels, or with frames (C, H, W)."""
    if frame is None:
        return JsonCodec(channels, settings.decode)
    return FrameCodec(frame, channels, settings.decode, settings.images)

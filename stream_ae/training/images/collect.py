"""What the frames of a topic look like, told by some of them."""

from collections import Counter
from collections.abc import Iterable

from stream_ae.errors import ConfigError, RecordError
from stream_ae.flow.images.codec import decode_frame
from stream_ae.flow.images.frame import FrameLimits
from stream_ae.records import RecordBatch
from stream_ae.settings import ImageSettings
from stream_ae.training.collect import SampleLayout

# As many readable frames say what most of them are.
FRAMES_LOOKED_AT = 20


def frame_layout(batches: Iterable[RecordBatch], settings: ImageSettings) -> SampleLayout:
    """The size and the channels of most readable frames. Raises ConfigError if none is readable."""
    limits, seen, why = FrameLimits(max_pixels=settings.max_pixels), Counter[tuple[int, int, int]](), ""
    for batch in batches:
        for value, headers in zip(batch.values, batch.headers, strict=True):
            if value is None or seen.total() >= FRAMES_LOOKED_AT:
                continue
            try:
                seen[decode_frame(value, headers, limits).format.shape] += 1
            except RecordError as error:
                why = why or f" (the first of them: {error})"
    if not seen:
        raise ConfigError(f"no readable frame{why}: check topics.raw and decode.records")
    frame = seen.most_common(1)[0][0]
    return SampleLayout(colours(frame[0]), frame)


def colours(channels: int) -> tuple[str, ...]:
    """Names of so many channels.

    >>> colours(3)
    ('red', 'green', 'blue')
    """
    known = {1: ("grey",), 3: ("red", "green", "blue")}
    return known.get(channels, tuple(f"c{index}" for index in range(channels)))

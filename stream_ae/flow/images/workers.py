"""Many frames at once: the work is done outside Python's lock for most of its time, so that threads share it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from stream_ae.errors import InvariantError, RecordError
from stream_ae.flow.images.codec import decode_frame, encode_frame
from stream_ae.flow.images.frame import Frame, FrameFormat, FrameLimits
from stream_ae.flow.images.pixels import pillow
from stream_ae.records import Float32, Headers


class FrameWorkers:
    """Decodes and encodes with a fixed number of threads; close it, or use it as a context.

    Raises ConfigError at once where the extra `images` is not installed: the first PNG would be too late.
    """

    def __init__(self, limits: FrameLimits, threads: int = 1) -> None:
        pillow()
        self._limits = limits
        self._pool = ThreadPoolExecutor(threads, "frames") if threads > 1 else None
        self._closed = False

    def decode(self, values: Sequence[bytes], headers: Sequence[Headers]) -> list[Frame | RecordError]:
        """For each record, in order, its frame or why it has none; one bad record costs itself alone."""
        if self._closed:
            raise InvariantError("a frame reader was used after it was closed")
        if len(values) != len(headers):
            raise InvariantError(f"{len(values)} values and {len(headers)} lists of headers")
        if self._pool is None or len(values) < 2:
            return [self._one(value, given) for value, given in zip(values, headers, strict=True)]
        return list(self._pool.map(self._one, values, headers))

    def encode(self, frames: Float32, forms: Sequence[FrameFormat], lossy: bool = False) -> list[bytes]:
        """Each of frames (N, C, H, W) in its form, see `encode_frame`."""
        if self._pool is None or len(forms) < 2:
            return [encode_frame(values, form, lossy) for values, form in zip(frames, forms, strict=True)]
        return list(self._pool.map(partial(encode_frame, lossy=lossy), frames, forms))

    def close(self) -> None:
        """Waits for what is being decoded and ends the threads; may be called again."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one(self, value: bytes, headers: Headers) -> Frame | RecordError:
        try:
            return decode_frame(value, headers, self._limits)
        except RecordError as error:
            # A fresh one: the caught one holds on to the frames that it came through, and these to the pixels.
            return RecordError(error.reason, str(error))

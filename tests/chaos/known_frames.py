"""Known input of cameras: seeded frames of several streams, some broken."""

from stream_ae.flow.images.codec import decode_frame, encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind, FrameLimits
from stream_ae.records import Float32
from tests.chaos.known import STEP_MS, Known, KnownPartition
from tests.models.images.conftest import disks

FORM = FrameFormat(FrameKind.NPY, "float32", 1, 16, 20)
SMALLER = FrameFormat(FrameKind.NPY, "float32", 1, 8, 8)
BROKEN = 0.05
SPOILT = 0.1


class KnownFrames(KnownPartition):
    """The same with a frame in each record; of floats, so that what comes out is told to the last digit."""

    def values_in(self, value: bytes) -> Float32:
        return decode_frame(value, (), FrameLimits()).values.reshape(1, -1)

    def samples(self, stream: str) -> Float32:
        return super().samples(stream).reshape(-1, *FORM.shape)

    def _next(self, index: int) -> Known:
        name = self._dice.choice(sorted(self._streams))
        stream, at_ms = self._streams[name], self._start_ms + STEP_MS * index
        headers = (("stream", name.encode()),)
        if self._dice.random() < BROKEN:
            broken = self._dice.choice([b"", b"no frame", encode_frame(disks(1, sides=(8, 8))[0], SMALLER)[:-1]])
            return Known(broken, at_ms, None, slice(0), headers)
        (frame,) = disks(1, seed=self._dice.getrandbits(32))
        if self._dice.random() < SPOILT:
            frame[0, 3:7, 4:9] = 255.0
        rows = slice(len(stream.samples), len(stream.samples) + 1)
        stream.samples.append(frame.ravel().tolist())
        return Known(encode_frame(frame, FORM), at_ms, name, rows, headers)

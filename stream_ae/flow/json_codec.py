"""Records of sensors: JSON whose values alone are replaced."""

from collections.abc import Mapping, Sequence

import numpy as np

from stream_ae.flow.codec import FlaggedSamples
from stream_ae.flow.columns import Decoded, Shape
from stream_ae.flow.decode import Decoder
from stream_ae.flow.values_text import block_text, value_texts
from stream_ae.records import Float32, Int32, Int64, RecordBatch
from stream_ae.settings import DecodeSettings

TOP_CHANNELS = 5
_SPACE = ord(" ")


class JsonCodec:
    """Satisfies `flow.codec.Codec` for records with values of the given channels, in their order."""

    def __init__(self, channels: Sequence[str], settings: DecodeSettings) -> None:
        self._channels = tuple(channels)
        self._decoder = Decoder(channels, settings)

    @property
    def width(self) -> int:
        return len(self._channels)

    def decode(self, batch: RecordBatch) -> Decoded:
        return self._decoder.decode(batch)

    def cleaned(
        self, records: RecordBatch, decoded: Decoded, rows: Int32, first: Int64, x_hat: Float32
    ) -> list[bytes | None]:
        channels = self._channels
        raw = [records.values[row] or b"" for row in rows.tolist()]
        start, end = decoded.layout.start[rows].tolist(), decoded.layout.end[rows].tolist()
        shape = decoded.layout.shape[rows]
        spaced = np.array([value[at - 1] == _SPACE for value, at in zip(raw, start, strict=True)], np.bool_)
        flat = shape <= Shape.LISTED
        if flat.all():
            texts = value_texts(x_hat, channels, shape, spaced)
        else:
            texts = [b""] * len(rows)
            single = np.flatnonzero(flat)
            of_single = value_texts(x_hat[first[single]], channels, shape[single], spaced[single])
            for index, text in zip(single.tolist(), of_single, strict=True):
                texts[index] = text
            last = np.append(first[1:], len(x_hat))
            for index in np.flatnonzero(~flat).tolist():
                block = x_hat[first[index] : last[index]]
                texts[index] = block_text(block, channels, int(shape[index]), bool(spaced[index]))
        return [value[:s] + text + value[e:] for value, s, text, e in zip(raw, start, texts, end, strict=True)]

    def close(self) -> None:
        """Nothing is held."""

    def where(self, flagged: FlaggedSamples, index: int) -> Mapping[str, object]:
        """The channels with the largest shares."""
        top = np.argsort(-flagged.share[index], kind="stable")[:TOP_CHANNELS].tolist()
        return {
            "channels": [
                {
                    "name": self._channels[column],
                    "observed": flagged.observed[index, column],
                    "expected": flagged.expected[index, column],
                    "share": flagged.share[index, column],
                }
                for column in top
            ]
        }

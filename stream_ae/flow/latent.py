"""Latent codes on the wire: one record for each raw record, the codes of its samples as plain float32."""

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.flow import headers as names
from stream_ae.flow.columns import Decoded
from stream_ae.records import Float32, Headers, ModelIdentity, OutgoingBatch, Reason, RecordBatch

WIRE = np.dtype("<f4")


def encode_latent(
    topic: str, records: RecordBatch, decoded: Decoded, codes: Float32, model: ModelIdentity
) -> OutgoingBatch:
    """The codes (N, K) of the N samples of `decoded`, each record's by itself; tombstones again. Rejected ones are left
    out.

    Value: rows of K little-endian float32, one for each sample of the raw record. Key, partition and Kafka time are the
    raw record's; headers say the shape, the model and the source.
    """
    row = decoded.samples.row
    first = np.flatnonzero(np.diff(row, prepend=-1))
    count = np.diff(np.append(first, len(row)))
    of = {int(one): (begin, number) for one, begin, number in zip(row[first], first, count, strict=True)}
    rows = np.sort(np.concatenate([row[first], decoded.tombstones]).astype(np.int64))
    data = np.ascontiguousarray(codes, WIRE)
    values: list[bytes | None] = []
    headers: list[Headers] = []
    about = (names.MODEL, names.model_text(model))
    for one, source in zip(rows.tolist(), names.source_texts(records, rows), strict=True):
        begin, number = of.get(one, (0, 0))
        values.append(data[begin : begin + number].tobytes() if one in of else None)
        headers.append(((names.SHAPE, b"%d,%d" % (number, codes.shape[1])), about, (names.SOURCE, source)))
    keys = [records.keys[one] for one in rows.tolist()]
    return OutgoingBatch(topic, records.partition[rows], records.timestamp_ms[rows], keys, values, headers)


def decode_latent(value: bytes | None, headers: Headers) -> Float32:
    """The codes (rows, K) that a record of the latent topic carries; none for a tombstone.

    `Detector.decode` of the version that the headers name takes them back. Raises RecordError if they are not as
    `encode_latent` writes them.

    >>> decode_latent(b"\\x00\\x00\\x80?\\x00\\x00\\x00@", (("stream-ae-shape", b"1,2"),)).tolist()
    [[1.0, 2.0]]
    """
    text = names.header_text(headers, names.SHAPE) or ""
    rows, _, size = text.partition(",")
    data = value or b""
    if not (rows.isdigit() and size.isdigit()) or int(rows) * int(size) * WIRE.itemsize != len(data):
        raise RecordError(
            Reason.WRONG_SHAPE,
            f"{len(data)} bytes with the header {names.SHAPE} '{text}' are no latent codes: read the topic that "
            "topics.latent names",
        )
    codes: Float32 = np.frombuffer(data, WIRE).astype(np.float32).reshape(int(rows), int(size))
    return codes

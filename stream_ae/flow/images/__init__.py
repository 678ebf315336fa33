"""Image codecs: bytes of PNG, JPEG, `.npy` and raw frames to arrays and back; no Kafka and no model in it."""

from stream_ae.flow.images.codec import decode_frame, encode_frame
from stream_ae.flow.images.error_map import Box, boxes, encode_map
from stream_ae.flow.images.frame import Frame, FrameFormat, FrameKind, FrameLimits
from stream_ae.flow.images.workers import FrameWorkers

__all__ = [
    "Box",
    "Frame",
    "FrameFormat",
    "FrameKind",
    "FrameLimits",
    "FrameWorkers",
    "boxes",
    "decode_frame",
    "encode_frame",
    "encode_map",
]

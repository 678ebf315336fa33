"""The one reference to the model in service."""

import threading

from stream_ae.flow.model import ServedModel
from stream_ae.records import Float32


class ModelSlot:
    """Written by the thread that reloads, read by the thread that batches; a swap is one assignment.

    recent_windows: the last batch (B, C, T) that was answered, for trying out a candidate on real data.
    """

    def __init__(self) -> None:
        self.model: ServedModel | None = None
        self.recent_windows: Float32 | None = None
        self.filled = threading.Event()

    def swap(self, model: ServedModel) -> None:
        self.model = model
        self.filled.set()

"""The references to the model in service and to the profiles of its streams."""

import threading

from stream_ae.flow.model import ServedModel
from stream_ae.flow.profiles import Profiles
from stream_ae.records import Float32


class ModelSlot:
    """Written by the threads that reload, read by the thread that batches; a swap is one assignment.

    Each may change without the other: profiles name the model that they are of.

    recent_windows: the last batch (B, C, T) that was answered, for trying out a candidate on real data.
    """

    def __init__(self) -> None:
        self.model: ServedModel | None = None
        self.profiles: Profiles | None = None
        self.recent_windows: Float32 | None = None
        self.filled = threading.Event()

    def swap(self, model: ServedModel) -> None:
        self.model = model
        self.filled.set()

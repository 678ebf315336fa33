"""The references to the model in service and to the profiles of its streams."""

import queue
import threading
from contextlib import suppress

from stream_ae.flow.model import ServedModel
from stream_ae.flow.profiles import Profiles
from stream_ae.records import Bool, Float32


class ModelSlot:
    """Written by the threads that reload, read by the thread that batches; a swap is one assignment.

    Each may change without the other: profiles name the model that they are of.

    recent_windows: the last batch (B, C, T) that was answered, for trying out a candidate on real data.
    shadow:         a challenger that scores beside the model; batches for it wait in `for_shadow`, one at most.
    shadow_lock:    holds while the challenger and what is said of it change together. Not for the thread that batches.
    """

    def __init__(self) -> None:
        self.model: ServedModel | None = None
        self.profiles: Profiles | None = None
        self.recent_windows: Float32 | None = None
        self.shadow: ServedModel | None = None
        self.shadow_lock = threading.Lock()
        self.for_shadow: queue.Queue[tuple[Float32, Bool]] = queue.Queue(1)
        self.filled = threading.Event()

    def swap(self, model: ServedModel) -> None:
        self.model = model
        self.filled.set()

    def answered(self, windows: Float32, flags: Bool) -> None:
        """The model answered (B, C, T) and found (B,) anomalous; a challenger that is busy misses them."""
        self.recent_windows = windows
        if self.shadow is not None:
            with suppress(queue.Full):
                self.for_shadow.put_nowait((windows, flags))

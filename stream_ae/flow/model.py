"""What the flow needs of a model: the one seam between numpy and torch."""

from typing import Protocol

from stream_ae.records import Float32, Inference, ModelIdentity


class ServedModel(Protocol):
    """One version in service; `worker.slot` holds it, `models.detector` is behind it."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the C channels, in the order of the value columns."""
        ...

    @property
    def window(self) -> int:
        """T, the samples of one window."""
        ...

    @property
    def lookahead(self) -> int:
        """The target sample is this many before the newest of its window; 0 <= lookahead < window."""
        ...

    @property
    def threshold(self) -> float:
        """A score above it is an anomaly."""
        ...

    @property
    def start_threshold(self) -> float:
        """The same for samples whose window reaches back beyond the first sample of their stream."""
        ...

    def infer(self, windows: Float32) -> Inference:
        """Answer windows (B, C, T) in the input's units, NaN = missing, oldest sample first.

        With the codes too, if the model was made to give them (`models.detector.Detector.with_codes`).
        The answer for a window does not depend on the others in the batch, up to float rounding.
        Raises ModelError when the network fails as a whole.
        """
        ...

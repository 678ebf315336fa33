"""What a test's model says that remembers nothing of its normal samples."""

from stream_ae.errors import InvariantError
from stream_ae.marginals import DriftBins
from stream_ae.records import Float32


class NoBins:
    """The part of `flow.model.ServedModel` that drift is counted by."""

    @property
    def drift_bins(self) -> DriftBins | None:
        return None

    def latents(self, windows: Float32) -> Float32:
        raise InvariantError("without bins nobody counts latents")

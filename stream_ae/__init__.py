"""stream_ae: a streaming denoiser and anomaly detector."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_ae.api import AutoencoderDetector

__all__ = ["AutoencoderDetector"]


def __getattr__(name: str) -> Any:
    # Lazily: whoever imports a part of the package must not wait for torch.
    if name == "AutoencoderDetector":
        from stream_ae.api import AutoencoderDetector

        return AutoencoderDetector
    raise AttributeError(f"module 'stream_ae' has no attribute '{name}'")

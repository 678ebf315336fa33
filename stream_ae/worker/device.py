"""Which device the model runs on, and on how many threads."""

import torch

from stream_ae.errors import ConfigError
from stream_ae.settings import WorkerSettings


def chosen_device(settings: WorkerSettings) -> str:
    """`cpu` or `cuda`; `auto` takes CUDA where it is present. Limits torch to `worker.threads` CPU threads."""
    torch.set_num_threads(settings.threads)
    present = torch.cuda.is_available()
    if settings.device == "cuda" and not present:
        raise ConfigError("worker.device is cuda, but torch finds no CUDA device: install a driver or set it to auto")
    if settings.device == "auto":
        return "cuda" if present else "cpu"
    return settings.device

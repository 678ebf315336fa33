"""Version folders as one who meddles with them would leave them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from stream_ae.models.serialization import CONFIG, WEIGHTS


def with_tensors(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change tensors and record the new sha256."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    change(tensors)
    weights = safetensors.torch.save(tensors)
    (folder / WEIGHTS).write_bytes(weights)
    with_config(folder, weights_sha256=hashlib.sha256(weights).hexdigest())


def with_config(folder: Path, **changes: Any) -> None:
    """Change values of the configuration."""
    config = json.loads((folder / CONFIG).read_bytes())
    (folder / CONFIG).write_text(json.dumps(config | changes))

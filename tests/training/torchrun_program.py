"""What the tests have torchrun start: trainings on all ranks, what came of them in a file.

torchrun --standalone --nproc-per-node 2 tests/training/torchrun_program.py WHAT FOLDER
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.one_shot import EXIT_AWAY
from jobs.ranks import on_ranks
from stream_ae.errors import ConfigError, ModelError, TransientError
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.telemetry import set_up_logging
from stream_ae.training import Trained, train
from stream_ae.training.checkpoint import Support
from stream_ae.training.images import TrainedImages, train_frames
from stream_ae.training.ranks import Ranks

UNUSABLE = 4
OPTIONS = TrainingSettings(window=8, max_epochs=3, denoiser_steps=20, diffusion_steps=0, threads=1)
# More samples than ranks divide: some batches have a row for one rank only, and one a row more.
ROWS = 1000


def waves(rows: int = ROWS) -> Float32:
    """(rows, 2) with gaps."""
    rng = np.random.default_rng(0)
    x = np.sin(np.arange(rows)[:, None] / np.array([3.0, 5.0])) + rng.normal(0, 0.05, (rows, 2))
    x[rng.random(x.shape) < 0.02] = np.nan
    return np.asarray(x, np.float32)


def frames() -> Float32:
    """(60, 1, 12, 12), some pixels missing."""
    rng = np.random.default_rng(0)
    x = np.asarray(rng.normal(0.5, 0.1, (60, 1, 12, 12)) + np.linspace(0, 1, 12), np.float32)
    x[rng.random(x.shape) < 0.01] = np.nan
    return x


def _of_readings(**changes: object) -> Callable[[Support], dict[str, Tensor]]:
    options = OPTIONS.model_copy(update=changes)
    return lambda support: weights_of_readings(train([waves()], ("a", "b"), options, support=support))


def _of_frames(**changes: object) -> Callable[[Support], dict[str, Tensor]]:
    options = OPTIONS.model_copy(update=changes)
    return lambda support: weights_of_frames(train_frames(frames(), ("grey",), options, support=support))


def weights_of_readings(trained: Trained) -> dict[str, Tensor]:
    """Of all its networks, and the losses."""
    denoiser = trained.detector.denoiser
    side = denoiser.network if denoiser is not None else None
    networks = {"": trained.detector.network.autoencoder, "unet.": side.unet if side is not None else None}
    return _weights(networks) | _losses(trained.report)


def weights_of_frames(trained: TrainedImages) -> dict[str, Tensor]:
    """Of all its networks, and the losses."""
    side, prior = trained.detector.denoiser.side, trained.detector.prior
    networks = {
        "": trained.detector.network.autoencoder,
        "unet.": side.unet if side is not None else None,
        "prior.": prior.unet if prior is not None else None,
    }
    return _weights(networks) | _losses(trained.report)


def _weights(networks: Mapping[str, Any]) -> dict[str, Tensor]:
    return {
        prefix + name: weight
        for prefix, network in networks.items()
        if network is not None
        for name, weight in network.state_dict().items()
    }


def _losses(report: Any) -> dict[str, Tensor]:
    return {name: torch.tensor(getattr(report, name)) for name in ("train_loss", "validation_loss", "epochs")}


TRAININGS: dict[str, Callable[[Support], dict[str, Tensor]]] = {
    "dense": _of_readings(),
    "conv1d, variational, free bits, blind U-Net": _of_readings(
        model="conv1d-variational", free_bits=0.3, denoiser="unet"
    ),
    "variational, U-Net on clean data, time budget": _of_readings(
        model="variational", denoiser="unet", clean=True, time_budget_s=1000.0
    ),
    "frames, spatial, blind U-Net, prior": _of_frames(model="conv2d-spatial", free_bits=0.1, diffusion_steps=10),
    "frames, variational, U-Net on clean data": _of_frames(model="conv2d-variational", clean=True),
}


def all_trainings(folder: Path, ranks: Ranks) -> int:
    for number, weights in enumerate(TRAININGS.values()):
        torch.save(weights(Support(ranks)), folder / f"{number}.pt")
    return 0


def refused(folder: Path, ranks: Ranks) -> int:
    """A training that diverges on every rank, one after it that does not, and data that nothing can be learnt from."""
    try:
        _of_readings(learning_rate=1e30)(Support(ranks))
    except ModelError:
        TRAININGS["dense"](Support(ranks))
    try:
        train([waves(9)], ("a", "b"), OPTIONS, support=Support(ranks))
    except ConfigError:
        return UNUSABLE
    return 0


def endless(folder: Path, ranks: Ranks) -> int:
    """Fits until it is killed; a file says that it is in the midst of it."""
    options = OPTIONS.model_copy(update={"max_epochs": 10**6, "patience": 10**6})
    try:
        train(
            [waves()], ("a", "b"), options, progress=lambda epoch: (folder / "fitting").touch(), support=Support(ranks)
        )
    except TransientError as error:
        sys.stderr.write(f"rank 0 has: {error}\n")
        return EXIT_AWAY
    return 0


WHAT = {"all_trainings": all_trainings, "refused": refused, "endless": endless}


def main() -> int:
    what, folder = WHAT[sys.argv[1]], Path(sys.argv[2])
    set_up_logging("INFO")
    code = on_ranks(lambda ranks: what(folder, ranks))
    (folder / f"exit-{os.environ['RANK']}").write_text(str(code))
    return code


if __name__ == "__main__":
    sys.exit(main())

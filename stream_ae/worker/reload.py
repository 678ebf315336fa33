"""What the worker keeps at the desired version: its model, and the profiles of its streams."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream_ae.errors import ModelError
from stream_ae.flow import profile_folder
from stream_ae.flow.codecs import unfit
from stream_ae.flow.model import ServedModel, difference, fitting, width_of
from stream_ae.records import Float32, ModelIdentity
from stream_ae.settings import Settings
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard

log = Log("worker.reload")

LoadModel = Callable[[Path, ModelIdentity], ServedModel]


class ModelService:
    """Puts models into the slot; implements `reconcile.Service`."""

    name = "model"
    about = ""

    def __init__(
        self, slot: ModelSlot, board: StatusBoard, metrics: WorkerMetrics, load: LoadModel, settings: Settings
    ) -> None:
        self._slot = slot
        self._board = board
        self._metrics = metrics
        self._load = load
        self._settings = settings
        self._said_waiting = False

    def current(self) -> ModelIdentity | None:
        return self._slot.model.identity if self._slot.model is not None else None

    def put(self, folder: Path, identity: ModelIdentity) -> None:
        candidate = self._load(folder, identity)
        self._check(candidate)
        self._board.swapped(identity)
        self._slot.swap(candidate)
        self._metrics.reloads.inc()

    def refused(self) -> None:
        self._metrics.reload_failures.inc()

    def missing(self) -> None:
        if not self._said_waiting:
            self._said_waiting = True
            log.warning("waiting for a model: no version is announced or promoted yet; `stream-ae retrain` makes one")

    def _check(self, candidate: ServedModel) -> None:
        """Refuse what is not for this stream, or does not answer."""
        current = self._slot.model
        wrong = unfit(candidate, self._settings.decode)
        if wrong is not None:
            raise ModelError(f"it {wrong}")
        wrong = difference(candidate, current) if current is not None else None
        if wrong is not None:
            raise ModelError(
                f"it {wrong}: serve it under another pipeline name, or restart the workers if the stream has changed"
            )
        warm_up(candidate, fitting(candidate, self._settings.batch), self._slot.recent_windows)


def warm_up(candidate: ServedModel, count: int, recent: Float32 | None) -> None:
    """Try it on the real batch shapes: ModelError if it does not answer with finite numbers.

    count:  of windows in a full batch.
    recent: real windows (B, V, T); passed over if they are another length than the candidate's.
    """
    missing = np.full((1, width_of(candidate), candidate.window), np.nan, np.float32)
    probes = [missing, np.repeat(missing, count, axis=0)]
    if recent is not None and recent.shape[1:] == missing.shape[1:]:
        probes.append(recent)
    for windows in probes:
        answer = candidate.infer(windows)
        if not np.isfinite(answer.x_hat).all() or not np.isfinite(answer.score).any():
            raise ModelError(f"it answers {len(windows)} test windows with numbers that are not finite")


class ProfileService:
    """Puts profiles into the slot, whatever model they are of: the pipeline leaves those of another model aside.

    Without any, every stream has the model's threshold. Implements `reconcile.Service`.
    """

    name = "profiles"
    about = "profiles: "

    def __init__(self, slot: ModelSlot, board: StatusBoard, metrics: WorkerMetrics) -> None:
        self._slot = slot
        self._board = board
        self._metrics = metrics

    def current(self) -> ModelIdentity | None:
        return self._slot.profiles.identity if self._slot.profiles is not None else None

    def put(self, folder: Path, identity: ModelIdentity) -> None:
        self._slot.profiles = profile_folder.load(folder).with_identity(identity)
        self._board.profiled(identity)
        self._metrics.profile_reloads.inc()

    def refused(self) -> None:
        self._metrics.profile_reload_failures.inc()

    def missing(self) -> None:
        """Nothing to say: a pipeline need not have profiles."""

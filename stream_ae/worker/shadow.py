"""A challenger beside the champion: it answers the same windows, and nothing of what it says leaves the worker.

On a thread of its own it takes a batch when it is free: the champion never waits for it. If it fails it is dropped.
"""

import queue
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from stream_ae.clock import Clock
from stream_ae.errors import ModelError
from stream_ae.flow.model import ServedModel, difference, fitting
from stream_ae.histogram import SCORE_BINS, merged
from stream_ae.records import Bool, Float32, ModelIdentity
from stream_ae.settings import BatchSettings
from stream_ae.status import ShadowStatus
from stream_ae.telemetry import Log
from stream_ae.worker.reload import LoadModel, warm_up
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard

log = Log("worker.shadow")

LOOK_FOR_STOP_S = 0.2
# What is wrong with the one that scored, apart from what the reconciler has to say.
FAILED = "shadow failed"
NOBODY = ModelIdentity("", "", "")


class ShadowService:
    """Puts challengers into the slot; implements `reconcile.DroppableService`."""

    name = "shadow"
    about = "shadow: "

    def __init__(self, slot: ModelSlot, board: StatusBoard, load: LoadModel, limits: BatchSettings) -> None:
        self._slot = slot
        self._board = board
        self._load = load
        self._limits = limits
        self._identity: ModelIdentity | None = None

    def current(self) -> ModelIdentity | None:
        """Also the one that failed while it scored: it is not tried again until it is withdrawn and announced anew."""
        return self._identity

    def put(self, folder: Path, identity: ModelIdentity) -> None:
        candidate = self._load(folder, identity)
        champion = self._slot.model
        if champion is not None and (wrong := unfit_beside(candidate, champion)) is not None:
            raise ModelError(f"it {wrong}")
        recent = self._slot.recent_windows
        count = fitting(candidate, self._limits)
        warm_up(candidate, count, recent[:, :, -candidate.window :] if recent is not None else None)
        with self._slot.shadow_lock:
            self._board.problem(FAILED, None)
            self._board.shadowed(ShadowStatus(identity, scores=SCORE_BINS.nothing))
            self._slot.shadow, self._identity = candidate, identity

    def refused(self) -> None:
        """What was there before goes on."""

    def missing(self) -> None:
        """Nothing to say: a pipeline need not have a challenger."""

    def drop(self) -> None:
        with self._slot.shadow_lock:
            self._slot.shadow, self._identity = None, None
            self._board.shadowed(None)
            self._board.problem(FAILED, None)
        log.info("shadow withdrawn")


def unfit_beside(candidate: ServedModel, champion: ServedModel) -> str | None:
    """What keeps a challenger from answering the champion's windows: it sees the newest samples of each."""
    wrong = difference(candidate, champion)
    if wrong is not None:
        return wrong
    if candidate.window > champion.window:
        return f"wants windows of {candidate.window} samples, those of the champion have {champion.window}"
    if candidate.lookahead != champion.lookahead:
        return f"waits for {candidate.lookahead} newer samples, the champion for {champion.lookahead}"
    return None


class ShadowScorer:
    """The shadow thread's work."""

    def __init__(self, slot: ModelSlot, board: StatusBoard, clock: Clock) -> None:
        self._slot = slot
        self._board = board
        self._clock = clock
        self._model: ServedModel | None = None
        self._so_far = ShadowStatus(NOBODY)

    def run(self, stop: threading.Event) -> None:
        """The thread's life: until `stop` is set."""
        while not stop.is_set():
            try:
                windows, flags = self._slot.for_shadow.get(timeout=LOOK_FOR_STOP_S)
            except queue.Empty:
                if self._slot.shadow is None:
                    # Its weights take room on the device.
                    self._model = None
                continue
            self.score(windows, flags)

    def score(self, windows: Float32, flags: Bool) -> None:
        """Answer the champion's windows (B, V, T), of which it found `flags` (B,) anomalous."""
        model, champion = self._slot.shadow, self._slot.model
        if model is None:
            return
        try:
            # There may be another champion since the challenger was put beside one.
            if champion is not None and (wrong := unfit_beside(model, champion)) is not None:
                raise ModelError(f"it {wrong}")
            if windows.shape[2] < model.window:
                return  # what a champion before this one left behind
            began_s = self._clock.monotonic_s()
            score = model.infer(windows[:, :, -model.window :]).score
            busy_s = self._clock.monotonic_s() - began_s
        except Exception as error:  # noqa: BLE001  a network raises whatever its library does
            self._drop(model, error)
            return
        found = score > model.threshold
        if model is not self._model:
            self._model, self._so_far = model, ShadowStatus(model.identity, scores=SCORE_BINS.nothing)
        before = self._so_far
        self._so_far = replace(
            before,
            windows=before.windows + len(windows),
            flagged=before.flagged + int(found.sum()),
            flagged_by_champion=before.flagged_by_champion + int(flags.sum()),
            agreed=before.agreed + int(np.sum(found == flags)),
            batches=before.batches + 1,
            busy_s=before.busy_s + busy_s,
            scores=merged((before.scores, SCORE_BINS.counts(score))),
        )
        with self._slot.shadow_lock:
            if self._slot.shadow is model:
                self._board.shadowed(self._so_far)

    def _drop(self, model: ServedModel, error: Exception) -> None:
        told = f"shadow: version {model.identity.version} failed and is dropped: {error}"
        with self._slot.shadow_lock:
            # Another one may have been put in its place while it answered.
            if self._slot.shadow is not model:
                return
            self._slot.shadow = None
            self._board.problem(FAILED, told)
        log.error("shadow dropped", version=model.identity.version, reason=repr(error))

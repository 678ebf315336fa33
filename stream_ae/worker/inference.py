"""Asking the model about a batch, and finding out what is at fault when it fails.

What a window is answered with depends on the model and the window alone, never on the batch that it came in: a worker
that cuts its batches elsewhere says the same.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from stream_ae.errors import ModelError, RestartError
from stream_ae.flow.model import ServedModel, width_of
from stream_ae.records import Float32, Inference
from stream_ae.telemetry import Log

log = Log("worker.inference")

# Wholly failed batches of more than one window, without an answer in between, after which the model is to blame.
BATCHES_IN_VAIN = 2
# Failing windows of one batch that are looked into for single samples: a broken model must not be asked for minutes.
WINDOWS_LOOKED_INTO = 256
# The dead letter's header tells the exception, not a novel.
LONGEST_REASON = 500
OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
# After these the process cannot use its device any more, whatever the next batch holds.
DEVICE_LOST = ("CUDA error", "HIP error")

ModelCall = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of B windows.

    inference:  (B,) rows; those of failed windows mean nothing.
    failed:     windows whose target sample the model cannot answer, and why.
    smooth:     the model answered the batch as it is: nothing in it makes a model fail.
    """

    inference: Inference
    failed: dict[int, str]
    smooth: bool


class Inferrer:
    """Answers batches, on one thread; remembers how many windows fit into the device's memory at once.

    A window that makes the model fail is looked into: samples that it fails on even alone are hidden (missing values
    are filled in), so that they cost themselves and not every window that they are in. A window fails if its target
    is such a sample, or if hiding does not help.
    """

    def __init__(self, model_call: ModelCall = nullcontext) -> None:
        self._model_call = model_call
        self._model: ServedModel | None = None
        self._at_once = 0
        self._in_vain = 0

    def answer(self, model: ServedModel, windows: Float32) -> Answer:
        """Raises ModelError if the model is at fault and not the windows, RestartError if the device is lost."""
        if model is not self._model:
            self._model, self._at_once, self._in_vain = model, 0, 0
        try:
            inference = self._infer(model, windows)
        except Exception as error:  # noqa: BLE001  a network raises whatever its library does
            _check_device(model, error)
            reason = _told(error)
        else:
            self._in_vain = 0
            return Answer(inference, {}, smooth=True)
        found = self._looked_into(model, windows, reason)
        return Answer(found.inference, found.failed, smooth=False)

    def _looked_into(self, model: ServedModel, windows: Float32, reason: str) -> "_Found":
        control = _control(model)
        failure = self._failure(model, control)
        if failure:
            raise ModelError(
                f"{_named(model)} fails even on a window without values, so the model is at fault and not the "
                f"records: {failure}; announce another version (`stream-ae models rollback`)"
            )
        found = _Found.nothing_yet(windows)
        self._bisect(model, windows, found, 0)
        for place in list(found.failed)[:WINDOWS_LOOKED_INTO]:
            self._forgive(model, windows[place], place, found)
        self._blame_the_model(model, found)
        log.warning(
            "model failed", model=_named(model), windows=len(windows), dead_letters=len(found.failed), reason=reason
        )
        return found

    def _bisect(self, model: ServedModel, windows: Float32, found: "_Found", first: int) -> None:
        """Answer what can be answered; a window that fails alone, or all but alone, is noted."""
        failure = self._tried(model, windows, found, first)
        if not failure:
            return
        if len(windows) == 1:
            found.failed[first] = f"{_named(model)} fails on it: {failure}"
            return
        half = len(windows) // 2
        self._bisect(model, windows[:half], found, first)
        self._bisect(model, windows[half:], found, first + half)

    def _forgive(self, model: ServedModel, window: Float32, place: int, found: "_Found") -> None:
        """Answer a failing window without the samples at fault, unless the one that it is about is among them."""
        at_fault = self._samples_at_fault(model, window, 0, window.shape[1])
        if not at_fault or window.shape[1] - 1 - model.lookahead in at_fault:
            return
        hidden = window.copy()
        hidden[:, at_fault] = np.nan
        if not self._tried(model, hidden[None], found, place):
            del found.failed[place]

    def _samples_at_fault(self, model: ServedModel, window: Float32, begin: int, end: int) -> list[int]:
        """Of the samples [begin, end), those that the model fails on with nothing else to see."""
        shown = np.full_like(window, np.nan)
        shown[:, begin:end] = window[:, begin:end]
        if not self._failure(model, shown[None]):
            return []
        if end - begin == 1:
            return [begin]
        middle = (begin + end) // 2
        left = self._samples_at_fault(model, window, begin, middle)
        return left + self._samples_at_fault(model, window, middle, end)

    def _blame_the_model(self, model: ServedModel, found: "_Found") -> None:
        if len(found.failed) < len(found.inference):
            self._in_vain = 0
        elif len(found.inference) > 1:
            self._in_vain += 1
        if self._in_vain >= BATCHES_IN_VAIN:
            raise ModelError(
                f"{_named(model)} failed on every window of {BATCHES_IN_VAIN} batches in a row, so the model is at "
                f"fault and not the records: {found.failed[0]}; announce another version (`stream-ae models rollback`)"
            )

    def _failure(self, model: ServedModel, windows: Float32) -> str:
        """Why the model cannot answer these windows; empty if it can."""
        return self._tried(model, windows, _Found.nothing_yet(windows), 0)

    def _tried(self, model: ServedModel, windows: Float32, found: "_Found", first: int) -> str:
        """Answer windows into `found`, or say why they cannot be answered.

        Beside them stands one that the model can answer: a network that answers nothing of a batch with finite numbers
        fails as a whole, but scores a single such window among others as infinite.
        """
        try:
            inference = self._infer(model, np.concatenate((windows, _control(model))))
        except Exception as error:  # noqa: BLE001  a network raises whatever its library does
            _check_device(model, error)
            return _told(error)
        found.fill(inference, first, len(windows))
        return ""

    def _infer(self, model: ServedModel, windows: Float32) -> Inference:
        """Answer windows, as many at once as fit."""
        while True:
            at_once = min(self._at_once or len(windows), len(windows))
            try:
                return self._in_parts(model, windows, at_once)
            except Exception as error:
                if not _says(error, OUT_OF_MEMORY) and not isinstance(error, MemoryError):
                    raise
                if at_once == 1:
                    raise _no_room(model, error) from error
                reason = _told(error)
            # Out of the handler the traceback has let go of what the failed attempt had allocated.
            self._at_once = at_once // 2
            torch.cuda.empty_cache()
            log.warning("out of memory", model=_named(model), windows=at_once, from_now_on=self._at_once, reason=reason)

    def _in_parts(self, model: ServedModel, windows: Float32, at_once: int) -> Inference:
        parts = []
        for begin in range(0, len(windows), at_once):
            with self._model_call():
                parts.append(model.infer(windows[begin : begin + at_once]))
        return parts[0] if len(parts) == 1 else _joined(parts)


class _NoRoomError(ModelError):
    """The device's memory is too small: nothing is learnt from asking about other windows."""


@dataclass(slots=True)
class _Found:
    """Answers as they are found, and the windows without one."""

    inference: Inference
    failed: dict[int, str] = field(default_factory=dict)

    @classmethod
    def nothing_yet(cls, windows: Float32) -> "_Found":
        count, channels = windows.shape[:2]
        share = np.full((count, channels), 1 / channels, np.float32)
        x_hat, expected = np.zeros((count, channels), np.float32), np.zeros((count, channels), np.float32)
        return cls(Inference(x_hat, np.zeros(count), np.ones(count), share, expected=expected))

    def fill(self, inference: Inference, first: int, count: int) -> None:
        rows = slice(first, first + count)
        self.inference.x_hat[rows] = inference.x_hat[:count]
        self.inference.score[rows] = inference.score[:count]
        self.inference.p_value[rows] = inference.p_value[:count]
        self.inference.share[rows] = inference.share[:count]
        if inference.code is not None:
            if self.inference.code is None:
                shape = (len(self.inference), inference.code.shape[1])
                self.inference = replace(self.inference, code=np.full(shape, np.nan, np.float32))
            assert self.inference.code is not None
            self.inference.code[rows] = inference.code[:count]
        self.inference.compared[rows] = inference.compared[:count]


def _control(model: ServedModel) -> Float32:
    """A window without values, which a version must answer before it comes into service (`worker.reload`)."""
    return np.full((1, width_of(model), model.window), np.nan, np.float32)


def _joined(parts: list[Inference]) -> Inference:
    codes = [part.code for part in parts if part.code is not None]
    return Inference(
        np.concatenate([part.x_hat for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.p_value for part in parts]),
        np.concatenate([part.share for part in parts]),
        np.concatenate(codes) if codes else None,
        np.concatenate([part.compared for part in parts]),
    )


def _check_device(model: ServedModel, error: Exception) -> None:
    if isinstance(error, _NoRoomError):
        raise error
    if _says(error, DEVICE_LOST):
        raise RestartError(
            f"the device failed under {_named(model)} and cannot be used again by this process: {_told(error)}; start "
            "the worker again"
        ) from error


def _no_room(model: ServedModel, error: Exception) -> _NoRoomError:
    return _NoRoomError(
        f"not even one window of {_named(model)} fits into the device's memory: {_told(error)}; free it of other "
        "processes, or set worker.device: cpu"
    )


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    return any(word in str(error) for word in words)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]


def _named(model: ServedModel) -> str:
    return f"model {model.identity.name}/{model.identity.version}"

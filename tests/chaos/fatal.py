"""Death at a named step: a port that passes everything on and ends its own process at one of its calls.

It is put in by the entry point of a process that is made to die (`entry`); what runs behind it is what users run.
"""

import os
import signal
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Literal
from unittest.mock import patch


@dataclass(frozen=True, slots=True)
class Step:
    """A moment: before or after the `nth` call of a port's method that has something to do, and what happens then."""

    port: Literal["source", "sink", "pipeline", "store", "signal"]
    method: str
    when: Literal["before", "after"]
    nth: int = 1
    number: signal.Signals = signal.SIGKILL


OPENERS: Mapping[str, Sequence[str]] = {
    "source": ("open_source", "open_transactional_source"),
    "sink": ("open_sink", "open_transactional_sink"),
    "pipeline": ("Pipeline",),
    "store": ("MlflowStore",),
    "signal": ("RedisSignal",),
}
"""The names under which the modules of a process make its ports."""


class Fatal:
    """Stands before a port."""

    def __init__(self, inner: object, step: Step) -> None:
        self._inner = inner
        self._step = step
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._deadly(found) if name == self._step.method else found

    def _deadly(self, call: Callable[..., object]) -> Callable[..., object]:
        def called(*given: object, **named: object) -> object:
            if self._step.when == "before":
                self._count()
                return call(*given, **named)
            result = call(*given, **named)
            # A poll that brought nothing, a buffer that gave no batch: not yet the step that is meant.
            if result is None or not isinstance(result, Sized) or len(result):
                self._count()
            return result

        return called

    def _count(self) -> None:
        self._calls += 1
        if self._calls == self._step.nth:
            os.kill(os.getpid(), self._step.number)


def deadly(modules: Sequence[ModuleType], step: Step | None) -> AbstractContextManager[object]:
    """Within the block, a port that the modules open dies at the step; without one nothing is changed."""
    stack = ExitStack()
    if step is not None:
        places = [(module, name) for module in modules for name in OPENERS[step.port] if hasattr(module, name)]
        for module, name in places:
            stack.enter_context(patch.object(module, name, partial(_opened, getattr(module, name), step)))
    return stack


def _opened(opener: Callable[..., object], step: Step, *given: object, **named: object) -> Fatal:
    return Fatal(opener(*given, **named), step)

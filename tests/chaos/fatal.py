"""Death at a named step: a port that passes everything on and ends its own process at one of its calls.

It is put in by the entry point of a process that is made to die (`entry`); what runs behind it is what users run.
"""

import os
import signal
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal
from unittest.mock import patch


@dataclass(frozen=True, slots=True)
class Step:
    """A moment: before or after the `nth` call of a port's method that has something to do.

    opener:  the name under which the process's module makes the port (`open_source`).
    """

    opener: str
    method: str
    when: Literal["before", "after"]
    nth: int = 1


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
        if self._calls >= self._step.nth:
            os.kill(os.getpid(), signal.SIGKILL)


def deadly(module: ModuleType, step: Step | None) -> AbstractContextManager[object]:
    """Within the block, what `module` opens dies at the step; without one nothing is changed."""
    stack = ExitStack()
    if step is not None:
        opener = getattr(module, step.opener)

        def opened(*given: object, **named: object) -> Fatal:
            return Fatal(opener(*given, **named), step)

        stack.enter_context(patch.object(module, step.opener, opened))
    return stack

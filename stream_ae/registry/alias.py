"""MLflow's alias `champion` is what lasts; Redis is what runs now. Where they differ, the alias was moved by hand."""

from stream_ae.clock import Clock
from stream_ae.ports import Desired, ModelSignal
from stream_ae.records import ModelVersion
from stream_ae.registry.rollout import unfinished

MOVED = "the alias champion was moved in MLflow"
FORGOTTEN = "nothing was announced: the champion of MLflow"


class AliasFollower:
    """Announces the champion once two looks in a row find something else announced.

    One look is not enough: whoever promotes moves the alias first and announces a moment later. Any number of
    processes may look: the first one announces, and the others find nothing left to do.

    waiting:  the last look has found a difference for the first time: the next look decides.
    """

    def __init__(self, signal: ModelSignal, clock: Clock) -> None:
        self.waiting = False
        self._signal = signal
        self._clock = clock
        self._found = ("", "")

    def look(self, champion: ModelVersion | None, desired: Desired | None) -> Desired | None:
        """What is announced after it has been looked at. Raises TransientError while Redis is away."""
        self.waiting = False
        announced = desired.model.digest if desired is not None else ""
        if champion is None or champion.digest == announced or (desired is not None and unfinished(champion, desired)):
            self._found = ("", "")
            return desired
        found = (champion.digest, announced)
        if self._found != found:
            self._found, self.waiting = found, True
            return desired
        self._found = ("", "")
        moved = Desired(champion.identity, self._clock.wall_ms(), MOVED if desired is not None else FORGOTTEN)
        return moved if self._signal.replace(announced, moved) else desired

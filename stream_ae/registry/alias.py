"""MLflow's alias `champion` is what lasts; Redis is what runs now. Where they differ, the alias was moved by hand."""

from stream_ae.clock import Clock
from stream_ae.ports import Desired, ModelSignal, ModelStore
from stream_ae.records import ModelVersion

MOVED = "the alias champion was moved in MLflow"
FORGOTTEN = "nothing was announced: the champion of MLflow"


class AliasFollower:
    """Announces the champion once two looks in a row find something else announced.

    One look is not enough: whoever promotes moves the alias first and announces a moment later.
    """

    def __init__(self, store: ModelStore, signal: ModelSignal, clock: Clock) -> None:
        self._store = store
        self._signal = signal
        self._clock = clock
        self._found = ""

    def look(self) -> ModelVersion | None:
        """The version that was announced now, if one was. Raises TransientError while a server is away."""
        champion, desired = self._store.champion(), self._signal.desired()
        if champion is None or (desired is not None and desired.model.digest == champion.digest):
            self._found = ""
            return None
        if self._found != champion.digest:
            self._found = champion.digest
            return None
        self._found = ""
        reason = MOVED if desired is not None else FORGOTTEN
        self._signal.announce(Desired(champion.identity, self._clock.wall_ms(), reason))
        return champion

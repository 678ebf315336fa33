"""No silent stall: a worker that gets nowhere says so, then ends, so that a supervisor starts it again."""

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from stream_ae.clock import Clock
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.progress import Progress, Stage, Waiting
from stream_ae.worker.status import StatusBoard

log = Log("worker.watchdog")

# EX_TEMPFAIL of sysexits.h: a failure that another start may mend.
EXIT_STALLED = 75
LOOK_EVERY_S = 1.0
# Between two looks further apart than this the whole process stood still (SIGSTOP, a suspended machine): its stages
# have not had that time.
STOOD_STILL_S = 10.0

IN_CALL = {
    Stage.COMMIT: "the brokers have neither acknowledged outputs and offsets nor refused them",
    Stage.SINK: "the brokers do not take outputs as fast as they come, or not at all",
    Stage.MODEL: "the model has been given a batch and has not answered it",
    Stage.FETCH: "the Kafka client has not come back from a poll",
}
OWED = {
    Stage.COMMIT: "the group does not take the offsets of records that have been answered",
    Stage.FETCH: "the raw topic holds records that the Kafka client does not bring",
    Stage.LOOP: "the loop has not come round",
}


@dataclass(frozen=True, slots=True)
class Stall:
    """A stage that has got nowhere for too long, and why in a person's words."""

    stage: Stage
    for_s: float
    why: str

    @property
    def sentence(self) -> str:
        return f"{self.stage.value} has made no progress for {self.for_s:.0f} s: {self.why}"


class Watchdog:
    """Judges progress; `look` is to be called at least every few seconds."""

    def __init__(self, progress: Progress, clock: Clock, stall_after_s: float) -> None:
        self._progress = progress
        self._clock = clock
        self._stall_after_s = stall_after_s
        self._looked_s = clock.monotonic_s()
        self._not_before_s = self._looked_s

    def look(self) -> Stall | None:
        """What has stalled, if anything; of several stages the one that holds the others up."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s > STOOD_STILL_S:
            self._not_before_s = now_s
        self._looked_s = now_s
        waiting = sorted(self._progress.waiting(), key=lambda one: list(Stage).index(one.stage))
        if not any(self._age_s(one) >= self._stall_after_s for one in waiting):
            return None
        # A call began a moment after the one that it is made from: what waits nearly as long counts, the last first.
        culprit = next(one for one in waiting if self._age_s(one) >= self._stall_after_s / 2)
        reasons = IN_CALL if culprit.in_call else OWED
        return Stall(culprit.stage, self._age_s(culprit), reasons[culprit.stage])

    def _age_s(self, one: Waiting) -> float:
        return self._looked_s - max(one.since_s, self._not_before_s)


class Watch:
    """The watchdog's thread: tells status, log and metrics of a stall, and ends the process if it lasts.

    Use it as a context manager around everything that may hang. `end` is called with the exit code.
    """

    def __init__(
        self,
        watchdog: Watchdog,
        board: StatusBoard,
        metrics: WorkerMetrics,
        clock: Clock,
        stall_exit_s: float,
        end: Callable[[int], None],
    ) -> None:
        self._watchdog = watchdog
        self._board = board
        self._metrics = metrics
        self._clock = clock
        self._stall_exit_s = stall_exit_s
        self._end = end
        self._told: Stage | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def tell(self, stall: Stall | None) -> None:
        """Say what has changed since the last time; end the process if the stall has lasted too long."""
        self._board.stalled(stall.sentence if stall is not None else None)
        self._metrics.stalled.set(stall is not None)
        stage = stall.stage if stall is not None else None
        if stage != self._told:
            self._told = stage
            if stall is None:
                log.info("worker makes progress again")
            else:
                log.error("worker stalled", stage=stall.stage.value, for_s=stall.for_s, reason=stall.why)
        if stall is not None and stall.for_s >= self._stall_exit_s:
            log.error("worker gives up", reason=stall.sentence, exit_code=EXIT_STALLED)
            self._end(EXIT_STALLED)

    def _run(self) -> None:
        while not self._clock.wait(self._stop, LOOK_EVERY_S):
            self.tell(self._watchdog.look())


def end_process(exit_code: int) -> None:
    """Write every thread's stack to standard error and end at once: a thread that hangs cannot be joined."""
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    logging.shutdown()
    os._exit(exit_code)

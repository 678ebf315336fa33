"""The loop: fetch and decode the next batch while the device works on this one."""

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import (
    DeliveryError,
    InvariantError,
    StreamAEError,
    TooManyDeadLetters,
    TransactionError,
    TransientError,
)
from stream_ae.flow.pipeline import Outputs, Pipeline, Work
from stream_ae.kafka.delivery import Delivery
from stream_ae.ports import RecordSource
from stream_ae.records import Partition, Position
from stream_ae.settings import Settings
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.counting import DriftCounter
from stream_ae.worker.flight import Counting, InFlight
from stream_ae.worker.inference import Inferrer
from stream_ae.worker.progress import Progress, Stage
from stream_ae.worker.retention import RetentionCheck
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard, Totals

log = Log("worker")

# One batch on the device, the next one ready behind it.
MAX_IN_FLIGHT = 2
# So many batches may be held for look-ahead: a stream that falls silent holds its partition for `idle_flush_s`.
MAX_HELD = 32
# How long a poll may wait: briefly while the device works (its answer is waiting too), else until the next chore.
POLL_BUSY_S = 0.001
POLL_IDLE_S = 0.1
# With a full buffer the loop waits for the device; this long without a poll it pauses the partitions and polls.
POLL_AT_LEAST_EVERY_S = 1.0
RETRY_S = 0.5
# What fails this often without one commit in between will not mend itself: better a worker that ends and says why.
MAX_ABORTS_IN_A_ROW = 10
# Of `max_poll_interval_s`, as in Quix: within it, a revoked partition is finished, committed and handed over.
REVOKE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Flow:
    """What moves the records: where they come from, what happens to them, how they leave."""

    source: RecordSource
    pipeline: Pipeline
    delivery: Delivery


class Worker:
    """Owns the polling thread; implements `AssignmentListener` for its source."""

    def __init__(
        self, flow: Flow, slot: ModelSlot, board: StatusBoard, metrics: WorkerMetrics, settings: Settings, clock: Clock
    ) -> None:
        self._source = flow.source
        self._pipeline = flow.pipeline
        self._delivery = flow.delivery
        self._slot = slot
        self._board = board
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._retention = RetentionCheck(flow.source, board, metrics, clock)
        self._in_flight: deque[InFlight] = deque()
        self._totals = Totals()
        self._paused: tuple[Partition, ...] = ()
        self._assigned: set[Partition] = set()
        self._abandoned = False
        self._must_start_over = False
        self._aborts_in_a_row = 0
        self._last_poll_s = clock.monotonic_s()
        self._next_commit_s = clock.monotonic_s()
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self.progress = Progress(clock)
        self._inferrer = Inferrer(partial(self.progress.within, Stage.MODEL))
        self._counter = DriftCounter()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set: wait for a model, then answer records; at the end drain, commit, leave the group.

        Whatever ends it early is raised; then the group is left as well, and nothing more is committed.
        """
        try:
            self._serve(stop)
            self._source.close()
        except BaseException:
            self._abandon()
            raise
        finally:
            self._device.shutdown(wait=True, cancel_futures=True)
            self._pipeline.close()

    def join(self) -> None:
        """Become a member of the group; there must be a model."""
        self._use()
        self._source.subscribe(self._settings.topics.raw, self)

    def turn(self) -> None:
        """One turn of the loop; never waits longer than a second, but for a sink that is slower than the source."""
        self.progress.turned()
        self._use()
        try:
            if self._must_start_over:
                self._start_over()
            self._fetch()
            self._finish_answered()
            self._submit()
            self._commit_if_due()
        except TransactionError as error:
            self._note_abort(error)

    def wait_for_device(self, timeout_s: float) -> None:
        """Until the oldest batch in flight is answered, at most `timeout_s`."""
        answers = [flight.answer for flight in self._in_flight if flight.answer is not None]
        if answers:
            wait(answers[:1], timeout_s)

    def _serve(self, stop: threading.Event) -> None:
        while not stop.is_set() and self._slot.model is None:
            self.progress.turned()
            self._clock.wait(stop, POLL_IDLE_S)
        if self._slot.model is None:
            return
        self.join()
        while not stop.is_set():
            self.turn()
        self._board.draining()
        self._drain()

    def _abandon(self) -> None:
        """Leave the group at once: it would keep the partitions for this member until its session ends (45 s)."""
        self._abandoned = True
        try:
            self._source.close()
        except StreamAEError as error:
            log.warning("group not left", reason=str(error))

    # -- the four chores -------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        if self._buffer_is_full():
            self.wait_for_device(POLL_IDLE_S)
            if self._in_flight and self._clock.monotonic_s() - self._last_poll_s < POLL_AT_LEAST_EVERY_S:
                return
            self._pause()
        elif self._paused and self._pipeline.buffered_records < self._pipeline.at_once:
            self._resume()
        # Paused, nothing comes; with nothing in flight either, the wait is what keeps the loop from spinning.
        busy_s = 0.0 if self._paused else POLL_BUSY_S
        timeout_s = busy_s if self._in_flight else POLL_IDLE_S
        try:
            with self.progress.within(Stage.FETCH):
                records = self._source.poll(self._pipeline.at_once, timeout_s)
        except DeliveryError:
            # Of a partition that was revoked or lost meanwhile.
            raise
        except TransientError as error:
            # Brokers known to be away are a problem, not a stall: another start would not bring them back.
            self.progress.done(Stage.FETCH)
            self.progress.done(Stage.COMMIT)
            if self._board.problem("kafka", f"Kafka is away: {error}"):
                log.warning("degraded", server="kafka", reason=str(error))
            self._clock.wait(threading.Event(), RETRY_S)
            return
        self._last_poll_s = self._clock.monotonic_s()
        self._board.problem("kafka", None)
        if len(records):
            self.progress.done(Stage.FETCH)
            self._retention.saw(records)
            self._pipeline.feed(records, self._clock.monotonic_s())

    def _submit(self) -> None:
        while len(self._in_flight) < MAX_IN_FLIGHT:
            work = self._pipeline.take(self._clock.monotonic_s(), device_idle=not self._in_flight)
            if work is None:
                return
            answer = self._device.submit(self._infer, work) if len(work.windows) else None
            self._in_flight.append(InFlight(work, answer))

    def _finish_answered(self) -> None:
        while self._in_flight and self._in_flight[0].done():
            self._finish(self._in_flight.popleft())

    def _commit_if_due(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._next_commit_s:
            return
        self._next_commit_s = now_s + self._settings.commit_interval_s
        self._commit()
        self._retention.look()
        self.progress.reached = self._pipeline.reached()
        lag = self._source.lag()
        self._board.positioned({p: lag.get(p, 0) for p in self._assigned})
        self._metrics.lag_records.set(sum(lag.values()))
        self._metrics.streams.set(self._pipeline.stream_count)

    # -- assignment ------------------------------------------------------------------------------------------------

    def on_assigned(self, committed: Mapping[Partition, Position | None]) -> Mapping[Partition, int]:
        self._assigned |= set(committed)
        starts = self._pipeline.assign(committed)
        self._retention.assigned(committed, starts)
        log.info("partitions assigned", partitions=_names(committed), rewinding=_names(starts) or "none")
        return starts

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        kafka = self._settings.kafka
        # An open transaction must not time out meanwhile.
        limit_s = min(REVOKE_SHARE * kafka.max_poll_interval_s, kafka.transaction_timeout_s)
        deadline = Deadline.after(self._clock, limit_s)
        try:
            if not self._abandoned:
                # What the device has not answered by half of the time is left to the new owner.
                self._finish_within(limit_s / 2)
                self._commit(deadline.left_s())
        finally:
            self._forget(partitions)
            self._retention.forget(partitions)
        log.info("partitions revoked", partitions=_names(partitions), took_s=limit_s - deadline.left_s())

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        self._forget(partitions)
        self._retention.forget(partitions)
        log.warning("partitions lost", partitions=_names(partitions))
        self._delivery.lost()

    # -- a transaction that cannot be committed --------------------------------------------------------------------

    def _note_abort(self, error: TransactionError) -> None:
        """Start over in the next turn; DeliveryError if that has been of no use too often."""
        self._must_start_over = True
        self._aborts_in_a_row += 1
        self._metrics.aborts.inc()
        log.warning("transaction failed", reason=str(error), in_a_row=self._aborts_in_a_row)
        if self._aborts_in_a_row >= MAX_ABORTS_IN_A_ROW:
            raise DeliveryError(
                f"{self._aborts_in_a_row} transactions in a row failed, the last one: {error}"
            ) from error
        if self._aborts_in_a_row > 1:
            self._clock.wait(threading.Event(), RETRY_S)

    def _start_over(self) -> None:
        """Forget what was read since the last commit; the source reads it again."""
        self._forget(tuple(self._assigned))
        try:
            self._delivery.start_over()
        except TransientError as error:
            log.warning("not gone back yet", reason=str(error))
            return
        self._must_start_over = False

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _use(self) -> None:
        if self._slot.model is None:
            raise InvariantError("the loop turns without a model")
        self._pipeline.use(self._slot.model, self._slot.profiles)

    def _infer(self, work: Work) -> Counting:
        with self._metrics.model_s.time():
            answer = self._inferrer.answer(work.model, work.windows)
        return Counting(answer, self._counter.counted(work, answer))

    def _finish(self, flight: InFlight) -> None:
        try:
            outputs = self._completed(flight)
        except TooManyDeadLetters:
            self._settle_before_the_end()
            raise
        for batch in outputs.batches:
            if len(batch):
                with self.progress.within(Stage.SINK):
                    self._delivery.produce(batch)
        self._count(flight, outputs)

    def _settle_before_the_end(self) -> None:
        """Commit what has left, with its count: else every restart would let the same records leave once more."""
        try:
            self._commit(self._settings.worker.drain_timeout_s)
        except StreamAEError as error:
            log.warning("what left before the end is not committed", reason=str(error))

    def _completed(self, flight: InFlight) -> Outputs:
        if flight.answer is None:
            return self._pipeline.complete(flight.work, None)
        answer = flight.answer.result().answer
        if answer.smooth:
            # On windows that hold poison every candidate would be refused.
            self._slot.answered(flight.work.windows, answer.inference.score > flight.work.model.threshold)
        return self._pipeline.complete(flight.work, answer.inference, answer.failed)

    def _count(self, flight: InFlight, outputs: Outputs) -> None:
        work, before, dead = flight.work, self._totals, sum(outputs.rejected.values())
        self._totals = Totals(
            before.records + outputs.records, before.flagged + outputs.flagged_samples, before.dead_letters + dead
        )
        self._board.answered(work.model.identity, self._totals, flight.scores(), flight.counted())
        metrics = self._metrics
        metrics.batches.inc()
        metrics.records.inc(outputs.records)
        metrics.samples.inc(outputs.samples)
        metrics.flagged.inc(outputs.flagged_samples)
        metrics.batch_records.observe(outputs.records)
        for reason, count in outputs.rejected.items():
            metrics.dead_letters.labels(reason.value).inc(count)
        if work.oldest_ms >= 0:
            latency_s = max(self._clock.wall_ms() - work.oldest_ms, 0) / 1000
            metrics.latency_s.observe(latency_s)
            self._board.left(latency_s)

    def _commit(self, timeout_s: float = math.inf) -> None:
        positions = self._pipeline.positions()
        if not positions:
            if not self._must_start_over:
                self.progress.done(Stage.COMMIT)
            return
        self.progress.owed(Stage.COMMIT)
        try:
            with self.progress.within(Stage.COMMIT):
                self._delivery.commit(positions, timeout_s)
        except DeliveryError:
            raise
        except TransientError as error:
            # The outputs are acknowledged, only the group did not take the offsets: work done twice, nothing lost.
            log.warning("commit put off", reason=str(error))
            return
        self.progress.done(Stage.COMMIT)
        self._pipeline.committed(positions)
        self._metrics.commits.inc()
        self._aborts_in_a_row = 0

    def _finish_within(self, limit_s: float) -> None:
        deadline = Deadline.after(self._clock, limit_s)
        while self._in_flight and not deadline.passed():
            self.wait_for_device(deadline.left_s())
            self._finish_answered()

    def _drain(self) -> None:
        """Answer what has been fetched, within the deadline; the rest is read again by whoever comes next."""
        if self._must_start_over:
            self._forget(tuple(self._assigned))
        try:
            self._answer_buffered()
            self._commit()
        except TransactionError as error:
            # Most likely the group has moved on meanwhile: these records are its other members' to answer.
            log.warning("drained in vain", reason=str(error))
            self._forget(tuple(self._assigned))
        log.info("drained", records=self._totals.records, left_in_buffer=self._pipeline.buffered_records)

    def _answer_buffered(self) -> None:
        deadline = Deadline.after(self._clock, self._settings.worker.drain_timeout_s)
        while not deadline.passed():
            self._submit()
            if not self._in_flight:
                break
            self._finish(self._in_flight.popleft())

    def _forget(self, partitions: Sequence[Partition]) -> None:
        self._pipeline.revoke(partitions)
        self._assigned -= set(partitions)
        self._paused = tuple(p for p in self._paused if p in self._assigned)

    def _buffer_is_full(self) -> bool:
        at_once, limits = self._pipeline.at_once, self._settings.batch
        held_records, held_bytes = self._pipeline.held
        return (
            self._pipeline.buffered_records >= MAX_IN_FLIGHT * at_once
            or self._pipeline.buffered_bytes >= MAX_IN_FLIGHT * limits.max_bytes
            or held_records >= MAX_HELD * at_once
            or held_bytes >= MAX_HELD * limits.max_bytes
        )

    def _pause(self) -> None:
        if not self._paused:
            self._paused = tuple(self._assigned)
            self._source.pause(self._paused)

    def _resume(self) -> None:
        self._source.resume(self._paused)
        self._paused = ()


def _names(partitions: Sequence[Partition] | Mapping[Partition, object]) -> str:
    return ",".join(f"{p.topic}/{p.number}" for p in sorted(partitions))

"""Servers that go on reporting while something is done to their models: real telemetry, sensors that may age."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from stream_ae.clock import Clock
from stream_ae.kafka.driver import open_sink
from stream_ae.localdev.replay import batches, paced
from stream_ae.localdev.sample_data import Machine
from stream_ae.records import Float32, Int64, OutgoingBatch
from stream_ae.settings import Settings
from stream_ae.tables import Series

# Noise of aged sensors, of each channel's own spread: scores go up, hardly anything is flagged.
AGED = 0.2
TICK_ROWS = 5


class LiveFeed:
    """A thread that sends the rows of `machines` from `begin_row` on, there and back again, until `stop`.

    `age` makes every sensor noisier from the next record on. Timestamps are laid out at the pace of the sending.
    """

    def __init__(self, settings: Settings, clock: Clock, machines: Sequence[Machine], begin_row: int, rate: float):
        self._settings = settings
        self._clock = clock
        self._machines = machines
        self._rows = [_there_and_back(machine.train[begin_row:]) for machine in machines]
        self._spread = [machine.train.std(0) for machine in machines]
        self._rate = rate
        self._aged = threading.Event()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)
        self._dice = np.random.default_rng(0)

    def start(self) -> None:
        self._thread.start()

    def age(self) -> None:
        self._aged.set()

    def check(self) -> None:
        """Raises what has ended the thread."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Returns when everything sent has arrived."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        sink = open_sink(self._settings.kafka, self._clock)
        try:
            for batch in paced(self._batches(), lambda: self._rate, self._clock, self._stop):
                sink.produce(batch)
            sink.flush(self._settings.kafka.delivery_timeout_s)
        except Exception as error:  # noqa: BLE001
            # Told to the scene's own thread, which looks by `check`.
            self._error = error
        finally:
            sink.close()

    def _batches(self) -> Iterator[OutgoingBatch]:
        step_ms = round(1000 * len(self._machines) / self._rate)
        row, at_ms = 0, self._clock.wall_ms()
        while True:
            times = at_ms + step_ms * np.arange(TICK_ROWS, dtype=np.int64)
            chosen = np.arange(row, row + TICK_ROWS)
            yield from batches(
                [
                    Series(machine.name, machine.channels, times, self._values(index, chosen))
                    for index, machine in enumerate(self._machines)
                ],
                self._settings.topics.raw,
            )
            row, at_ms = row + TICK_ROWS, int(times[-1]) + step_ms

    def _values(self, index: int, chosen: Int64) -> Float32:
        values = self._rows[index][chosen % len(self._rows[index])]
        return aged(values, self._spread[index], self._dice) if self._aged.is_set() else values


def aged(values: Float32, spread: Float32, dice: np.random.Generator) -> Float32:
    """(N, C) as sensors report them whose noise has become `AGED` of each channel's (C,) spread."""
    return (values + AGED * spread * dice.standard_normal(values.shape)).astype(np.float32)


def _there_and_back(rows: Float32) -> Float32:
    """So that going round and round has no jump."""
    return np.concatenate((rows, rows[::-1]))

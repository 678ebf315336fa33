"""What the demo replays: sample machines laid out in time, so that the last test sample is now."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_ae.localdev import sample_data
from stream_ae.localdev.sample_data import INTERVAL_MS, Machine
from stream_ae.tables import Series


@dataclass(frozen=True, slots=True)
class Material:
    """Training and test series of the same machines; `begin_ms` is the time of the first test sample."""

    machines: tuple[Machine, ...]
    train: tuple[Series, ...]
    test: tuple[Series, ...]
    begin_ms: int

    @property
    def test_records(self) -> int:
        return sum(len(series.values) for series in self.test)

    @property
    def train_records(self) -> int:
        return sum(len(series.values) for series in self.train)


def material(names: Sequence[str], train_rows: int, now_ms: int) -> Material:
    """The named machines; of the training part the newest `train_rows`."""
    machines = tuple(sample_data.load(names))
    test_rows = max(len(machine.test) for machine in machines)
    begin_ms = now_ms - (test_rows - 1) * INTERVAL_MS
    train, test = [], []
    for machine in machines:
        before = machine.train[-train_rows:]
        times = sample_data.timestamps(len(before), begin_ms - INTERVAL_MS)
        train.append(Series(machine.name, machine.channels, times, before))
        times = sample_data.timestamps(len(machine.test), begin_ms + (len(machine.test) - 1) * INTERVAL_MS)
        test.append(Series(machine.name, machine.channels, times, machine.test))
    return Material(machines, tuple(train), tuple(test), begin_ms)

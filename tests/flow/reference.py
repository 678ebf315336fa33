"""What a log of records must leave, told the slow way: one record after another, with the windows of whole arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stream_ae.flow.headers import model_text
from stream_ae.flow.window import windows_of
from stream_ae.records import Float32, Partition
from tests.flow.raw_log import Event, Left, MeanModel, Raw, Trace


@dataclass(frozen=True)
class Sample:
    """One sample of a stream, where it came from, and from which offset on the log must be read to admit it."""

    raw: Raw
    timestamp_ms: int
    value: float
    since: int


@dataclass(eq=False)
class Epoch:
    """Samples of one stream that know of each other, oldest first: no silence longer than the time to live between.

    shadow_ms:  the end of the refused blocks in it; whoever begins reading at one of them refuses what is before that.
    """

    samples: list[Sample] = field(default_factory=list)
    shadow_ms: int = -1

    def x(self) -> Float32:
        return np.array([[sample.value, 1.0] for sample in self.samples], np.float32)


class Reference:
    """Reads the log as it is meant, one record after another: what belongs together, and what is refused."""

    def __init__(self, ttl_ms: int) -> None:
        self.log: list[Raw] = []
        self.raws: dict[tuple[int, int], Raw] = {}
        self.reasons: dict[tuple[int, int], str] = {}
        self.epochs: dict[tuple[int, str], list[Epoch]] = {}
        self.places: dict[tuple[int, int], list[tuple[Epoch, int]]] = {}
        self._ttl_ms = ttl_ms
        self._now_ms: dict[int, int] = {}
        self._newest: dict[tuple[int, str], int] = {}
        self._seen: dict[tuple[int, str], int] = {}

    def append(self, raw: Raw) -> None:
        self.log.append(raw)
        self.raws[raw.partition, raw.offset] = raw
        now = self._now_ms[raw.partition] = max(self._now_ms.get(raw.partition, -1), raw.kafka_ms)
        if raw.values is None:
            return
        if raw.broken:
            self.reasons[raw.partition, raw.offset] = "not_json"
            return
        if list(raw.times) != sorted(raw.times):
            self.reasons[raw.partition, raw.offset] = "timestamp_backwards"
            return
        stream = (raw.partition, raw.stream)
        fresh = self._silent(stream, now)
        self._seen[stream] = now
        if not fresh and raw.times[0] < self._newest[stream]:
            self.reasons[raw.partition, raw.offset] = "timestamp_backwards"
            if len(raw.times) > 1:
                epoch = self.epochs[stream][-1]
                epoch.shadow_ms = max(epoch.shadow_ms, raw.times[-1])
            return
        self._newest[stream] = raw.times[-1]
        if fresh:
            self.epochs.setdefault(stream, []).append(Epoch())
        epoch = self.epochs[stream][-1]
        first = len(epoch.samples)
        since = epoch.samples[-1].since if raw.times[0] <= epoch.shadow_ms else raw.offset
        epoch.samples += [Sample(raw, *sample, since) for sample in zip(raw.times, raw.values, strict=True)]
        self.places[raw.partition, raw.offset] = [(epoch, at) for at in range(first, len(epoch.samples))]

    def is_over(self, epoch: Epoch) -> bool:
        """Whatever comes next, no sample will join this epoch any more."""
        raw = epoch.samples[0].raw
        stream = (raw.partition, raw.stream)
        return epoch is not self.epochs[stream][-1] or self._silent(stream, self._now_ms[raw.partition])

    def needed_from(self, partition: int, samples: int) -> int:
        """The oldest offset that so many newest samples of a live stream of the partition came from; the end of its log
        if there is none."""
        ends = [raw.offset + 1 for raw in self.log if raw.partition == partition]
        newest = [epochs[-1] for (number, _), epochs in self.epochs.items() if number == partition]
        needed = [epoch.samples[-samples:][0].since for epoch in newest if not self.is_over(epoch)]
        return min(needed, default=ends[-1] if ends else 0)

    def _silent(self, stream: tuple[int, str], now_ms: int) -> bool:
        return stream not in self._seen or now_ms - self._seen[stream] > self._ttl_ms


@dataclass(frozen=True)
class Answer:
    """What a version says of one sample; `x_hat` as it is written: as few digits as tell float32 numbers apart."""

    x_hat: float
    score: float
    flag: bool


def answers_of(epoch: Epoch, model: MeanModel) -> Iterator[Answer]:
    """The answer to each of these samples; after the last one there are no newer ones."""
    said = model.infer(windows_of(epoch.x(), model.window, model.lookahead))
    for at, (x_hat, score) in enumerate(zip(said.x_hat[:, 0], said.score.tolist(), strict=True)):
        begun = at >= model.window - 1 - model.lookahead
        threshold = model.threshold if begun else max(model.threshold, model.start_threshold)
        yield Answer(float(str(x_hat)), score, not score <= threshold)


def state_of(flags: Sequence[bool], close_after: int) -> str:
    """What a flagged record says of the newest of these samples; nothing of one that neither opens nor ends an event.

    flags: the stream's, up to it; no more than those of the `close_after` samples before it count.
    """
    before = list(flags[-1 - close_after : -1])
    if flags[-1]:
        return "ongoing" if any(before) else "open"
    return "close" if len(before) == close_after and before[0] and not any(before[1:]) else ""


def cleaned_trace(raw: Raw, answers: Sequence[Answer], model: MeanModel) -> Trace:
    """What a record leaves whose samples were answered so, the last of them by this version."""
    signed = model_text(model.identity).decode()
    if raw.values is None:
        return Trace(model=signed)
    cleaned = replace(raw, values=tuple(answer.x_hat for answer in answers)).bytes()
    score, flag = max(answer.score for answer in answers), any(answer.flag for answer in answers)
    return Trace(cleaned, f"{score:.6g}", str(int(flag)), model=signed)


def expected(log: Sequence[Raw], model: MeanModel, ttl_ms: int, close_after: int = 1) -> Left:
    """What the log leaves, told the slow way: one stream after another, with the windows of whole arrays."""
    reference = Reference(ttl_ms)
    for raw in log:
        reference.append(raw)
    answers: dict[tuple[int, int], list[Answer]] = {}
    events: dict[tuple[int, int], list[Event]] = {}
    for epoch in (epoch for epochs in reference.epochs.values() for epoch in epochs):
        flags: list[bool] = []
        for sample, answer in zip(epoch.samples, answers_of(epoch, model), strict=True):
            where = (sample.raw.partition, sample.raw.offset)
            answers.setdefault(where, []).append(answer)
            flags.append(answer.flag)
            state = state_of(flags, close_after)
            events.setdefault(where, []).extend([Event(*where, sample.timestamp_ms, state)] if state else [])
    left = Left()
    for raw in log:
        where = (raw.partition, raw.offset)
        reason = reference.reasons.get(where)
        trace = Trace(reason=reason) if reason else cleaned_trace(raw, answers.get(where, []), model)
        left.traces.append((Partition("raw", raw.partition), raw.offset, trace))
        left.events += events.get(where, [])
    return left

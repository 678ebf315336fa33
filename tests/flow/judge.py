"""Says of everything that leaves a pipeline whether it may leave, as far as the log goes."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import orjson

from tests.flow.raw_log import Event, MeanModel, Trace
from tests.flow.reference import Answer, Epoch, Reference, answers_of, cleaned_trace, state_of


@dataclass(eq=False)
class Holding:
    """One partition in a worker's hands.

    live:     records below it only rebuild state.
    reads:    the next offset to fetch.
    fed:      when each record was fed, for those that have not left.
    hurried:  records that may have been answered before their look-ahead was there: their stream fell idle, or a
              version with another look-ahead came.
    flags:    of the samples of each record that has left.
    """

    live: int
    reads: int
    fed: dict[int, float] = field(default_factory=dict)
    hurried: set[int] = field(default_factory=set)
    flags: dict[int, list[bool]] = field(default_factory=dict)

    def hurry(self, fed_before_s: float) -> None:
        self.hurried |= {offset for offset, fed_s in self.fed.items() if fed_s <= fed_before_s}


@dataclass(frozen=True, eq=False)
class Versions:
    """Which may have answered what leaves now, and which may have answered anything that this worker ever took up."""

    now: Collection[MeanModel]
    ever: Collection[MeanModel]


class Judge:
    """Knows every answer that a sample can get: by each version, with all its look-ahead or, if hurried, with less."""

    def __init__(self, reference: Reference, close_after: int) -> None:
        self._reference = reference
        self._close_after = close_after
        self._known: dict[tuple[Epoch, int, int, MeanModel], Answer] = {}

    def check(
        self, partition: int, offset: int, trace: Trace, events: Sequence[Event], held: Holding, versions: Versions
    ) -> None:
        """One record that leaves; the ones before it have been here. AssertionError if it may not leave like this."""
        raw = self._reference.raws[partition, offset]
        reason = self._reference.reasons.get((partition, offset))
        if reason is not None:
            assert (trace, events) == (Trace(reason=reason), [])
            return
        if raw.values is None:
            assert trace in [cleaned_trace(raw, [], model) for model in versions.now]
            assert events == []
            return
        places = self._reference.places[partition, offset]
        befores = self._flags_before(*places[0], held, versions.ever)
        answers: list[Answer] = []
        for x_hat, (epoch, at) in zip(_x_hats(trace), places, strict=True):
            possible = self._answers(epoch, at, versions.now, offset in held.hurried)
            fitting = [(answer, model) for answer, model in possible if answer.x_hat == x_hat]
            assert fitting, f"{x_hat} is none of {possible}, the answers to sample {at} of {epoch}"
            answer, signing = fitting[0]
            answers.append(answer)
        assert trace == cleaned_trace(raw, answers, signing)
        flags = held.flags[offset] = [answer.flag for answer in answers]
        states = [self._states(before, flags) for before in befores]
        told = [
            [Event(partition, offset, time, state) for time, state in zip(raw.times, one, strict=True) if state]
            for one in states
        ]
        assert events in told

    def _states(self, before: Sequence[bool], flags: Sequence[bool]) -> list[str]:
        run = [*before, *flags]
        return [state_of(run[: at + 1], self._close_after) for at in range(len(before), len(run))]

    def _flags_before(
        self, epoch: Epoch, at: int, held: Holding, models: Collection[MeanModel]
    ) -> Iterator[tuple[bool, ...]]:
        """Which of the samples before were flagged: as they left, or as a worker that rebuilds its state may find."""
        places = range(max(at - self._close_after, 0), at)
        return product(*(self._flag_of(epoch, place, held, models) for place in places))

    def _flag_of(self, epoch: Epoch, at: int, held: Holding, models: Collection[MeanModel]) -> set[bool]:
        raw = epoch.samples[at].raw
        if raw.offset in held.flags:
            first = next(place for place, sample in enumerate(epoch.samples) if sample.raw is raw)
            return {held.flags[raw.offset][at - first]}
        return {answer.flag for answer, _ in self._answers(epoch, at, models, raw.offset in held.hurried)}

    def _answers(
        self, epoch: Epoch, at: int, models: Collection[MeanModel], hurried: bool
    ) -> list[tuple[Answer, MeanModel]]:
        return [
            (self._answer(epoch, at, newer, model), model)
            for model in models
            for newer in self._newer(epoch, at, model.lookahead, hurried)
        ]

    def _newer(self, epoch: Epoch, at: int, lookahead: int, hurried: bool) -> Iterator[int]:
        """How many newer samples a sample may have waited for."""
        there = len(epoch.samples) - 1 - at
        if there >= lookahead:
            yield lookahead
        elif self._reference.is_over(epoch):
            yield there
        if hurried:
            yield from range(min(lookahead, there + 1))

    def _answer(self, epoch: Epoch, at: int, newer: int, model: MeanModel) -> Answer:
        key = (epoch, at, newer, model)
        if key not in self._known:
            self._known[key] = list(answers_of(Epoch(epoch.samples[: at + newer + 1]), model))[at]
        return self._known[key]


def _x_hats(trace: Trace) -> list[float]:
    assert trace.cleaned is not None, trace
    values = orjson.loads(trace.cleaned)["values"]
    return [values["a"]] if isinstance(values, dict) else [row[0] for row in values]

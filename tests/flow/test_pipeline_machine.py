"""Two workers share two partitions, and everything happens to them that can happen; hypothesis chooses what.

The machine plays the log, the group and the transactions: what leaves a worker is seen, together with its offsets, when
the worker commits, and never if it is gone before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stream_ae.flow.horizon import depth_of
from stream_ae.flow.offsets import rewind_of
from stream_ae.flow.pipeline import Outputs
from stream_ae.records import Partition, Position
from stream_ae.settings import BatchSettings, DecideSettings, Settings
from tests.flow.judge import Holding, Judge, Versions
from tests.flow.new_records import NUMBERS, PACES, RECORDS, NewRecord, Pace
from tests.flow.raw_log import Bench, Left, MeanModel, Raw
from tests.flow.reference import Reference, expected

TTL_MS = 100
IDLE_S = 5.0
MODELS = {
    "1": MeanModel(start_threshold=3.0),
    "2": MeanModel(version="2", shift=100.0, threshold=1.0),
    "3": MeanModel(version="3", shift=200.0, lookahead=1, start_threshold=4.0),
    "4": MeanModel(version="4", shift=300.0, lookahead=3, threshold=1.0),
}


CHORES = st.lists(st.sampled_from(["feed", "take", "wait", "complete", "commit"]), min_size=1, max_size=8)
COUNTS = st.integers(1, 8)
WHICH = st.integers(0, 1)
VERSIONS = st.sampled_from(list(MODELS))


@dataclass(eq=False)
class Member:
    """One worker: its pipeline, the partitions that it holds, and what has left it since its last commit."""

    bench: Bench
    model: MeanModel
    now: set[MeanModel] = field(default_factory=set)
    ever: set[MeanModel] = field(default_factory=set)
    holdings: dict[int, Holding] = field(default_factory=dict)
    open: Left = field(default_factory=Left)

    def __post_init__(self) -> None:
        self.now.add(self.model)
        self.ever.add(self.model)


class TwoWorkers(RuleBasedStateMachine):
    """Rules are what a worker does and what happens to it; the invariants are the promises of the flow."""

    def __init__(self) -> None:
        super().__init__()
        self.reference = Reference(TTL_MS)
        self.close_after = 1
        self.judge = Judge(self.reference, self.close_after)
        self.members: list[Member] = []
        self.group: dict[Partition, Position | None] = dict.fromkeys(map(_named, NUMBERS))
        self.seen = Left()
        self.now_s = 0.0
        self.hurried = False
        self.settings = Settings()
        self.pace = PACES[0]
        self.desired = MODELS["1"]
        self.told = {self.desired}

    @initialize(
        max_records=st.integers(1, 12),
        version=VERSIONS,
        pace=st.sampled_from(PACES),
        records=st.lists(RECORDS, min_size=8, max_size=40),
        owners=st.tuples(WHICH, WHICH),
        times=st.integers(0, 4),
        close_after=st.integers(1, 4),
    )
    def begin(
        self,
        max_records: int,
        version: str,
        pace: Pace,
        records: Sequence[NewRecord],
        owners: tuple[int, int],
        times: int,
        close_after: int,
    ) -> None:
        batch = BatchSettings(max_records=max_records, state_ttl_s=TTL_MS / 1000, idle_flush_s=IDLE_S)
        self.settings = Settings(batch=batch, decide=DecideSettings(close_after=close_after))
        self.close_after, self.judge = close_after, Judge(self.reference, close_after)
        self.pace = pace
        self.desired = MODELS[version]
        self.told = {self.desired}
        self.append(records)
        for number, which in zip(NUMBERS, owners, strict=True):
            self._assign(self._member(which), number)
        for which in range(len(self.owners)):
            self.turn(which, times, count=3)

    # -- what happens to the log and the clock ---------------------------------------------------------------------

    @rule(records=st.lists(RECORDS, min_size=1, max_size=10))
    def append(self, records: Sequence[NewRecord]) -> None:
        for new in records:
            self.reference.append(self.pace.record(new, self._log_of(new.partition)[-1:]))

    @rule(seconds=st.sampled_from([0.125, 3.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        for member in self.members:
            self._hurry(member, fed_before_s=self.now_s - IDLE_S)

    @rule(version=VERSIONS)
    def a_version_is_desired(self, version: str) -> None:
        self.desired = MODELS[version]
        self.told.add(self.desired)

    # -- what happens to the group ---------------------------------------------------------------------------------

    @precondition(lambda self: self.unowned)
    @rule(to=WHICH, choice=WHICH)
    def assign(self, to: int, choice: int) -> None:
        self._assign(self._member(to), self.unowned[choice % len(self.unowned)])

    @precondition(lambda self: self.owners)
    @rule(which=WHICH, choice=WHICH, finish=st.booleans(), to=WHICH)
    def hand_over(self, which: int, choice: int, finish: bool, to: int) -> None:
        """As it is asked to; what is in flight is finished if there is time."""
        member = self._owner(which)
        number = list(member.holdings)[choice % len(member.holdings)]
        while finish and member.bench.works:
            self._complete(member)
        self._commit(member)
        self._forget(member, [number])
        self._assign(self._member(to), number)

    @precondition(lambda self: self.owners)
    @rule(which=WHICH, choice=WHICH)
    def lose(self, which: int, choice: int) -> None:
        """Without being asked: then the transaction cannot be committed, and the rest is read again."""
        member = self._owner(which)
        lost = list(member.holdings)[choice % len(member.holdings)]
        kept = [number for number in member.holdings if number != lost]
        self._start_over(member)
        for number in kept:
            self._assign(member, number)

    @precondition(lambda self: self.owners)
    @rule(which=WHICH, back=st.booleans())
    def abort(self, which: int, back: bool) -> None:
        member = self._owner(which)
        numbers = list(member.holdings)
        self._start_over(member)
        for number in numbers if back else ():
            self._assign(member, number)

    @precondition(lambda self: self.members)
    @rule(which=WHICH, to=st.none() | WHICH)
    def crash(self, which: int, to: int | None) -> None:
        gone = self.members.pop(which % len(self.members))
        if to is not None:
            for number in gone.holdings:
                self._assign(self._member(to), number)

    # -- what a worker does ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.owners)
    @rule(which=WHICH, chores=CHORES, count=COUNTS)
    def work(self, which: int, chores: Sequence[str], count: int) -> None:
        """In any order."""
        member = self._owner(which)
        for chore in chores:
            self._do(chore, member, count)

    @precondition(lambda self: self.owners)
    @rule(which=WHICH, times=st.integers(1, 4), count=COUNTS)
    def turn(self, which: int, times: int, count: int) -> None:
        """In the order of the worker's loop."""
        member = self._owner(which)
        for _ in range(times):
            self._use(member, self.desired)
            for chore in ("feed", "complete", "take", "take", "commit"):
                self._do(chore, member, count)

    @precondition(lambda self: self.members)
    @rule(which=WHICH, parts=st.lists(st.tuples(st.sampled_from(NUMBERS), COUNTS), min_size=1, max_size=3))
    def poll(self, which: int, parts: Sequence[tuple[int, int]]) -> None:
        """Of partitions that are not its own it may bring what was fetched before they went."""
        member = self.members[which % len(self.members)]
        polled = []
        for number, count in parts:
            held = member.holdings.get(number)
            polled += self._fetched(number, held, count) if held is not None else self._log_of(number)[-count:]
        member.bench.feed(polled, self.now_s)

    @precondition(lambda self: any(member.bench.works for member in self.members))
    @rule(which=WHICH)
    def complete(self, which: int) -> None:
        """Also by one that has lost all its partitions meanwhile."""
        busy = [member for member in self.members if member.bench.works]
        self._complete(busy[which % len(busy)])

    @precondition(lambda self: self.members)
    @rule(which=WHICH)
    def commit_unheard(self, which: int) -> None:
        """The group takes the offsets, and the worker does not hear of it."""
        self._commit(self.members[which % len(self.members)], heard=False)

    @precondition(lambda self: self.members)
    @rule(which=WHICH, version=VERSIONS)
    def use(self, which: int, version: str) -> None:
        self._use(self.members[which % len(self.members)], MODELS[version])

    @precondition(lambda self: self.owners)
    @rule(which=WHICH)
    def settle(self, which: int) -> None:
        """With nothing more to come, everything leaves and nothing is held."""
        member = self._owner(which)
        for number, held in member.holdings.items():
            member.bench.feed(self._fetched(number, held, len(self.reference.log)), self.now_s)
        self._run(member)
        if any(model.lookahead for model in member.now):
            self.time_passes(IDLE_S)
            self._run(member)
        pipeline, moved = member.bench.pipeline, member.bench.pipeline.positions()
        self._commit(member)
        for number in member.holdings:
            end = self._end(number)
            assert self._committed(number) == end
            assert pipeline.reached()[_named(number)] == end
        for partition, position in moved.items():
            depth = depth_of(member.model.window, self.close_after)
            needed = self.reference.needed_from(partition.number, depth)
            assert rewind_of(position).offset == needed
        assert (pipeline.buffered_records, pipeline.held_records, pipeline.in_flight) == (0, 0, 0)
        assert pipeline.held == (0, 0)
        member.now = {member.model}

    # -- the promises ----------------------------------------------------------------------------------------------

    @invariant()
    def what_is_seen_is_the_log_up_to_the_committed_offset_each_record_once(self) -> None:
        for number in NUMBERS:
            committed = self._committed(number)
            assert list(self.seen.of(number)) == [raw.offset for raw in self._log_of(number) if raw.offset < committed]

    @invariant()
    def what_would_be_committed_has_left_and_nothing_else_has(self) -> None:
        for member in self.members:
            positions = member.bench.pipeline.positions()
            assert {partition.number for partition in positions} <= set(member.holdings)
            for number, held in member.holdings.items():
                position = positions.get(_named(number), self.group[_named(number)])
                answered = position.offset if position is not None else held.live
                offsets = [raw.offset for raw in self._log_of(number)]
                assert list(held.flags) == [offset for offset in offsets if held.live <= offset < answered]

    def teardown(self) -> None:
        for number in self.unowned:
            self.assign(0, number)
        while self.owners and any(self._committed(number) < self._end(number) for number in NUMBERS):
            for which in range(len(self.owners)):
                self.settle(which)
        self.what_is_seen_is_the_log_up_to_the_committed_offset_each_record_once()
        if not self.hurried and len(self.told) == 1:
            right = expected(self.reference.log, self.desired, TTL_MS, self.close_after)
            for number in NUMBERS:
                assert self.seen.of(number) == right.of(number)
                assert self.seen.events_of(number) == right.events_of(number)

    # -- within ----------------------------------------------------------------------------------------------------

    @property
    def owners(self) -> list[Member]:
        return [member for member in self.members if member.holdings]

    @property
    def unowned(self) -> list[int]:
        return [number for number in NUMBERS if not any(number in member.holdings for member in self.members)]

    def _owner(self, which: int) -> Member:
        return self.owners[which % len(self.owners)]

    def _member(self, which: int) -> Member:
        """One of the two, started if it is not there."""
        if which >= len(self.members):
            self.members.append(Member(Bench(self.settings, self.desired, {}), self.desired))
        return self.members[min(which, len(self.members) - 1)]

    def _do(self, chore: str, member: Member, count: int) -> None:
        bench = member.bench
        match chore:
            case "feed":
                for number, held in member.holdings.items():
                    bench.feed(self._fetched(number, held, count), self.now_s)
            case "take" | "wait" if len(bench.works) < 2:
                bench.take(self.now_s, device_idle=chore == "take")
            case "complete" if bench.works:
                self._complete(member)
            case "commit":
                self._commit(member)

    def _log_of(self, number: int) -> list[Raw]:
        return [raw for raw in self.reference.log if raw.partition == number]

    def _end(self, number: int) -> int:
        return max((raw.offset + 1 for raw in self._log_of(number)), default=0)

    def _committed(self, number: int) -> int:
        position = self.group[_named(number)]
        return position.offset if position is not None else 0

    def _fetched(self, number: int, held: Holding, count: int) -> list[Raw]:
        records = [raw for raw in self._log_of(number) if raw.offset >= held.reads][:count]
        held.fed |= {raw.offset: self.now_s for raw in records}
        held.reads = records[-1].offset + 1 if records else held.reads
        return records

    def _assign(self, member: Member, number: int) -> None:
        partition, committed = _named(number), self._committed(number)
        starts = member.bench.pipeline.assign({partition: self.group[partition]})
        member.holdings[number] = Holding(committed, starts.get(partition, committed))

    def _forget(self, member: Member, numbers: Sequence[int]) -> None:
        member.bench.pipeline.revoke([_named(number) for number in numbers])
        for number in numbers:
            del member.holdings[number]

    def _start_over(self, member: Member) -> None:
        self._forget(member, list(member.holdings))
        member.open = Left()

    def _use(self, member: Member, model: MeanModel) -> None:
        if model.lookahead != member.model.lookahead:
            self._hurry(member, fed_before_s=self.now_s)
        member.bench.pipeline.use(model)
        member.model = model
        for versions in (member.now, member.ever, self.told):
            versions.add(model)

    def _hurry(self, member: Member, fed_before_s: float) -> None:
        for held in member.holdings.values() if any(model.lookahead for model in member.now) else ():
            held.hurry(fed_before_s)
            self.hurried |= bool(held.hurried)

    def _run(self, member: Member) -> None:
        while member.bench.take(self.now_s) or member.bench.works:
            self._complete(member)

    def _complete(self, member: Member) -> Outputs:
        outputs = member.bench.complete()
        left = Left()
        left.add(outputs)
        versions = Versions(member.now, member.ever)
        for number in {partition.number for partition, _, _ in left.traces}:
            held = member.holdings[number]
            for offset, trace in left.of(number).items():
                events = [event for event in left.events_of(number) if event.offset == offset]
                held.flags[offset] = []
                self.judge.check(number, offset, trace, events, held, versions)
                del held.fed[offset]
        member.open.traces += left.traces
        member.open.events += left.events
        return outputs

    def _commit(self, member: Member, heard: bool = True) -> None:
        positions = member.bench.pipeline.positions()
        for partition, position in positions.items():
            before = self.group[partition]
            assert before is None or before.offset <= position.offset
            assert before is None or rewind_of(before).offset <= rewind_of(position).offset
        self.group |= positions
        self.seen.traces += member.open.traces
        self.seen.events += member.open.events
        member.open = Left()
        if heard:
            member.bench.pipeline.committed(positions)


def _named(number: int) -> Partition:
    return Partition("raw", number)


def test_whatever_happens_to_two_workers_what_is_committed_is_what_an_undisturbed_run_says() -> None:
    # In so many, two dozen mutations of the flow by hand were found; more if the profile says so.
    examples = max(400, settings().max_examples)
    run_state_machine_as_test(TwoWorkers, settings=settings(max_examples=examples, stateful_step_count=30))

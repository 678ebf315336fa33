"""Answering a span again: nothing is missing or doubled however often it is ended, and what cannot be is refused."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from jobs.backfill import Outcome, Progress, Request, World, backfill, request_of
from stream_ae.backfill import parquet, topics, written
from stream_ae.backfill.spans import Asked
from stream_ae.errors import ConfigError
from stream_ae.flow.headers import SOURCE
from stream_ae.flow.images.codec import encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind
from stream_ae.flow.profile_folder import save as save_profiles
from stream_ae.kafka.admin import Created, TopicSpec
from stream_ae.models.serialization import load, save
from stream_ae.ports import RecordSink
from stream_ae.records import Float32, OutgoingBatch, Partition
from stream_ae.settings import BatchSettings, DecodeSettings, Settings, TrainingSettings
from stream_ae.testing import (
    InMemoryBroker,
    InMemoryReader,
    InMemoryRedis,
    InMemorySignal,
    InMemorySink,
    InMemoryStore,
    ManualClock,
)
from stream_ae.training import train
from stream_ae.training.adapt import adapted
from tests.models.images.conftest import disks

START_MS = 1_700_000_000_000
RECORDS = 400
BROKEN = (60, 61, 250)


def waves(count: int, seed: int = 0) -> Float32:
    rows = np.sin(np.arange(count)[:, None] / np.array([3.0, 5.0]))
    rows += np.random.default_rng(seed).normal(0, 0.05, rows.shape)
    found: Float32 = rows.astype(np.float32)
    return found


@pytest.fixture(scope="module")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    folders = [tmp_path_factory.mktemp(f"model-{seed}") for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        options = TrainingSettings(window=8, max_epochs=2, threads=1, seed=seed)
        save(train([waves(1000)], ("a", "b"), options).detector, folder)
    return folders


class Brokers:
    """`Topics` of a broker in memory."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker
        self.made: list[TopicSpec] = []

    def partition_count(self, name: str) -> int:
        try:
            return len(self._broker.log(name))
        except ConfigError:
            return 0

    def create(self, specs: Sequence[TopicSpec]) -> Created:
        new = [spec for spec in specs if not self.partition_count(spec.name)]
        for spec in new:
            self._broker.create_topic(spec.name, spec.partitions)
        self.made += new
        return Created(tuple(spec.name for spec in new), ())


class EndingSink(InMemorySink):
    """Is ended when it has written so many records: Ctrl-C there, and what was not yet written never is."""

    def __init__(self, broker: InMemoryBroker, after: int) -> None:
        super().__init__(broker)
        self._left = after

    def produce(self, batch: OutgoingBatch) -> None:
        super().produce(_first(batch, self._left))
        self._left -= len(batch)
        if self._left < 0:
            raise KeyboardInterrupt


class LosingSink(InMemorySink):
    """Loses one cleaned record, writes those after it, and says so when it is flushed."""

    def __init__(self, broker: InMemoryBroker, lost: bytes) -> None:
        super().__init__(broker)
        self._lost = lost

    def produce(self, batch: OutgoingBatch) -> None:
        for row in range(len(batch)):
            one = _rows(batch, [row])
            if dict(one.headers[0]).get(SOURCE) == self._lost:
                self._failure = "a record was lost"
            else:
                failure, self._failure = self._failure, None
                super().produce(one)
                self._failure = failure


def _first(batch: OutgoingBatch, count: int) -> OutgoingBatch:
    return _rows(batch, list(range(min(max(count, 0), len(batch)))))


def _rows(batch: OutgoingBatch, rows: list[int]) -> OutgoingBatch:
    keys, values = [batch.keys[row] for row in rows], [batch.values[row] for row in rows]
    headers = [batch.headers[row] for row in rows]
    return OutgoingBatch(batch.topic, batch.partition[rows], batch.timestamp_ms[rows], keys, values, headers)


class Answering:
    """A pipeline in memory, as the job sees it: two partitions of 400 records, two streams each, two versions."""

    def __init__(self, model_folders: Sequence[Path], folder: Path) -> None:
        clock = ManualClock(START_MS)
        self.folder = folder
        self.settings = Settings(pipeline="pump", batch=BatchSettings(max_records=16, state_ttl_s=60.0))
        self.broker = InMemoryBroker(clock)
        self.broker.create_topic("raw", 2)
        self.topics, self.redis, self.said = Brokers(self.broker), InMemoryRedis(clock), list[str]()
        self.store, self.profiles = InMemoryStore(clock, "pump"), InMemoryStore(clock, "pump-profiles")
        for model_folder in model_folders:
            self.store.register(model_folder, {}, {})
        self.sinks: Iterator[RecordSink] = iter(())
        self.signal = InMemorySignal(self.redis, "pump")
        for number in (0, 1):
            rows = waves(RECORDS, seed=number)
            rows[::50] += 3.0
            for at, row in enumerate(rows):
                value = {"stream": "xy"[at % 2], "timestamp": START_MS + 1000 * at, "values": row.tolist()}
                text = b"broken" if at in BROKEN else json.dumps(value).encode()
                self.broker.append("raw", text, partition=number, timestamp_ms=START_MS + 1000 * at)

    def run(self, asked: Asked, stopping: Callable[[int, int], None] = lambda done, total: None, **to: Any) -> Outcome:
        world = World(
            InMemoryReader(self.broker), self.topics, lambda: next(self.sinks, InMemorySink(self.broker)),
            self.store, self.profiles, self.signal,
        )  # fmt: skip
        request = Request(**{"asked": asked, "version": "1", **to})
        return backfill(world, self.settings, request, Progress(self.said.append, stopping))

    def wrote(self, suffix: str) -> dict[str, list[tuple[int, str]]]:
        """By topic, partition and source of every record in its order."""
        return {
            topic: [(r.partition.number, dict(r.headers)[SOURCE].decode()) for r in self.broker.records(topic)]
            for topic in (f"cleaned-{suffix}", f"dead-letters-{suffix}")
        }

    def events(self, suffix: str) -> Counter[tuple[int, int, str]]:
        found = [orjson.loads(record.value or b"") for record in self.broker.records(f"flagged-{suffix}")]
        return Counter((one["source"]["partition"], one["source"]["offset"], one["state"]) for one in found)

    def rows(self, name: str) -> pd.DataFrame:
        files = sorted((self.folder / name).glob("raw-*.parquet"))
        rows: pd.DataFrame = pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)
        return rows


@pytest.fixture
def answering(model_folders: Sequence[Path], tmp_path: Path) -> Answering:
    return Answering(model_folders, tmp_path)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (topics, written):
        monkeypatch.setattr(module, "GROUP", 20)
    monkeypatch.setattr(parquet, "CHUNK", 64)
    monkeypatch.setattr(parquet, "ROW_GROUP", 30)


SPAN = Asked(offsets="0:30-390,1:55-300")


def sources(number: int, begin: int, end: int) -> list[tuple[int, str]]:
    return [(number, f"raw/{number}/{at}") for at in range(begin, end) if at not in BROKEN]


def test_every_record_of_the_span_and_no_other_leaves_one_trace_in_order(answering: Answering) -> None:
    assert answering.run(SPAN, to_topics="x") == Outcome.DONE
    wrote = answering.wrote("x")
    assert wrote["cleaned-x"] == sources(0, 30, 390) + sources(1, 55, 300)
    assert sorted(source for _, source in wrote["dead-letters-x"]) == sorted(
        f"raw/{number}/{at}" for number in (0, 1) for at in BROKEN
    )
    assert {spec.name: spec.partitions for spec in answering.topics.made} == dict.fromkeys(
        ("cleaned-x", "flagged-x", "dead-letters-x"), 2
    )
    assert all(spec.config == {"retention.ms": "-1"} for spec in answering.topics.made)


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("seed", range(12))
def test_ended_anywhere_and_begun_again_nothing_is_missing_or_doubled(answering: Answering, seed: int) -> None:
    assert answering.run(SPAN, to_topics="whole") == Outcome.DONE
    random = Random(seed)
    ends = [random.randrange(250) for _ in range(30)]
    answering.sinks = iter([EndingSink(answering.broker, after) for after in ends])
    outcomes = [answering.run(SPAN, to_topics="x")]
    while outcomes[-1] != Outcome.DONE:
        outcomes.append(answering.run(SPAN, to_topics="x"))
    assert set(outcomes[:-1]) == {Outcome.INTERRUPTED}
    assert "the same command goes on" in answering.said[-2]
    found, right = answering.wrote("x"), answering.wrote("whole")
    assert found["cleaned-x"] == right["cleaned-whole"]
    assert Counter(s for _, s in found["dead-letters-x"]) == Counter(s for _, s in right["dead-letters-whole"])
    assert answering.events("x") == answering.events("whole")


@pytest.mark.usefixtures("small_groups")
def test_what_a_broker_lost_between_records_that_it_took_is_found_and_written(answering: Answering) -> None:
    answering.sinks = iter([LosingSink(answering.broker, b"raw/0/101")])
    assert answering.run(SPAN, to_topics="x") == Outcome.SERVER_AWAY
    assert (0, "raw/0/102") in answering.wrote("x")["cleaned-x"]
    assert answering.run(SPAN, to_topics="x") == Outcome.DONE
    assert sorted(answering.wrote("x")["cleaned-x"]) == sorted(sources(0, 30, 390) + sources(1, 55, 300))


def test_a_backfill_that_is_done_writes_nothing_more(answering: Answering) -> None:
    answering.run(SPAN, to_topics="x")
    before = answering.wrote("x"), answering.events("x")
    assert answering.run(SPAN, to_topics="x") == Outcome.DONE
    assert (answering.wrote("x"), answering.events("x")) == before


@pytest.mark.usefixtures("small_groups")
def test_files_end_at_the_same_offsets_however_often_it_is_ended(answering: Answering) -> None:
    assert answering.run(SPAN, to_parquet=answering.folder / "whole") == Outcome.DONE
    random, folder = Random(3), answering.folder / "x"
    right = answering.rows("whole")
    stops = [KeyboardInterrupt()] * 20

    def stopping(done: int, total: int) -> None:
        if stops and random.random() < 0.2:
            raise stops.pop()

    outcome = Outcome.INTERRUPTED
    while outcome == Outcome.INTERRUPTED:
        outcome = answering.run(SPAN, stopping, to_parquet=folder)
    assert outcome == Outcome.DONE
    assert len(stops) < 20
    names = [sorted(path.name for path in (answering.folder / one).iterdir()) for one in ("whole", "x")]
    assert names[0] == names[1]
    assert "raw-00000-00000000000000000064-00000000000000000128.parquet" in names[0]
    found = answering.rows("x")
    exact = ["stream", "timestamp", "source_partition", "source_offset", "flag", "reason"]
    pd.testing.assert_frame_equal(found[exact], right[exact])
    pd.testing.assert_frame_equal(found, right, check_exact=False, rtol=1e-4, atol=1e-5)


def test_files_and_topics_say_the_same(answering: Answering) -> None:
    answering.run(SPAN, to_topics="x")
    answering.run(SPAN, to_parquet=answering.folder / "x")
    rows = answering.rows("x")
    assert rows["source_topic"].unique().tolist() == ["raw"]
    refused = rows[rows["reason"].notna()]
    assert refused["source_offset"].tolist() == [60, 61, 250, 60, 61, 250]
    assert set(refused["reason"]) == {"not_json"}
    assert refused["stream"].isna().all()
    used = rows[rows["reason"].isna()]
    cleaned = [(json.loads(r.value or b""), dict(r.headers)) for r in answering.broker.records("cleaned-x")]
    assert used["score"].map(lambda score: f"{score:.6g}".encode()).tolist() == [
        h["stream-ae-score"] for _, h in cleaned
    ]
    assert used["flag"].tolist() == [headers["stream-ae-flag"] == b"1" for _, headers in cleaned]
    assert used[["denoised_a", "denoised_b"]].to_numpy(np.float32).tolist() == [
        np.array(value["values"], np.float32).tolist() for value, _ in cleaned
    ]
    assert used["stream"].tolist() == [value["stream"] for value, _ in cleaned]
    assert used["flag"].any()


def test_of_frames_the_files_hold_scores_and_the_cleaned_frames(
    image_model_folders: Sequence[Path], tmp_path: Path
) -> None:
    cameras = Answering(image_model_folders, tmp_path)
    cameras.settings = cameras.settings.model_copy(update={"decode": DecodeSettings(records="images")})
    frames = [encode_frame(frame, FrameFormat(FrameKind.PNG, "uint8", *frame.shape)) for frame in disks(20)]
    for at, frame in enumerate([*frames, b"no image", None]):
        cameras.broker.append("raw", frame, key=b"cam", partition=0, timestamp_ms=START_MS + RECORDS * 1000 + at)
    asked = Asked(offsets="0:400-422")
    assert cameras.run(asked, to_topics="x") == cameras.run(asked, to_parquet=tmp_path / "x") == Outcome.DONE
    rows = cameras.rows("x")
    assert rows["source_offset"].tolist() == list(range(400, 421))
    assert rows["cleaned"].tolist()[:20] == [r.value for r in cameras.broker.records("cleaned-x")][:20]
    assert rows["reason"].tolist()[20] == "not_an_image"
    assert rows["score"].notna().tolist() == [True] * 20 + [False]


def test_a_span_of_times_is_that_of_kafka(answering: Answering) -> None:
    request = request_of("1", None, ("2023-11-14T22:14:20Z", "2023-11-14T22:15:00+00:00", None), ("x", None), 1)
    assert answering.run(request.asked, to_topics="x") == Outcome.DONE
    assert answering.wrote("x")["cleaned-x"] == sources(0, 60, 100) + sources(1, 60, 100)


def test_profiles_apply_if_they_are_asked_for(answering: Answering, model_folders: Sequence[Path]) -> None:
    detector = load(model_folders[0]).with_identity(answering.store.versions()[0].identity)
    profiles = adapted(detector, {"x": [waves(400)]}, "threshold", 0.005)
    save_profiles(profiles, answering.folder / "profiles")
    answering.profiles.register(answering.folder / "profiles", {}, {})
    assert answering.run(SPAN, to_topics="x", profiles="1") == Outcome.DONE
    there = [b"stream-ae-profile" in str(r.headers).encode() for r in answering.broker.records("cleaned-x")]
    assert 0 < sum(there) < len(there)
    with pytest.raises(ConfigError, match="learnt with pump/1, not with version 2"):
        answering.run(SPAN, to_topics="y", profiles="1", version="2")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(offsets="0:0-401"), "ends at offset 400"),
        (Asked(offsets="2:0-10"), "has no partition 2"),
        (Asked(offsets="0:10"), "cannot be read"),
        (Asked(offsets="0:0-10,0:20-30"), "one span of each partition"),
        (Asked(offsets="0:9-300"), "retention has deleted offsets 9-9; begin with 10"),
        (Asked(start_ms=START_MS), "retention has deleted what was before offset 10"),
        (Asked(start_ms=START_MS + 400_000), "holds no record from 2023-11-14T22:20:00.000Z to the end"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_span_that_is_not_there_is_refused_with_the_reason(answering: Answering, asked: Asked, why: str) -> None:
    answering.broker.delete_records(Partition("raw", 0), 10)
    for target in ({"to_topics": "x"}, {"to_parquet": answering.folder / "x"}):
        with pytest.raises(ConfigError, match=why):
            answering.run(asked, **target)


def test_what_retention_deletes_once_it_is_answered_is_not_missed(answering: Answering) -> None:
    folder = answering.folder / "x"
    for target in ({"to_topics": "x"}, {"to_parquet": folder}):
        answering.run(Asked(start_ms=START_MS), **target)
    answering.broker.delete_records(Partition("raw", 0), 400)
    assert answering.run(Asked(start_ms=START_MS), to_parquet=folder) == Outcome.DONE


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"version": "2"}, "said, not pump/2|model pump/1 and not pump/2"),
        ({"span": Asked(offsets="0:40-200")}, "beyond the span 40-200|span offsets 0:30-390"),
        ({"version": "9"}, "no version '9'; versions: 1, 2"),
        ({"version": "champion"}, "no champion yet"),
    ],
    ids=["another version", "another span", "no such version", "no champion"],
)
def test_what_another_backfill_wrote_is_not_added_to(answering: Answering, second: dict[str, Any], why: str) -> None:
    span = second.pop("span", SPAN)
    for target in ({"to_topics": "x"}, {"to_parquet": answering.folder / "x"}):
        answering.run(SPAN, **target)
        with pytest.raises(ConfigError, match=why):
            answering.run(span, **target, **second)


@pytest.mark.usefixtures("small_groups")
def test_topics_that_begin_within_the_span_are_those_of_another(answering: Answering) -> None:
    answering.run(SPAN, to_topics="x")
    with pytest.raises(ConfigError, match="begins with raw offset 30, but 20 is missing"):
        answering.run(Asked(offsets="0:20-390"), to_topics="x")


def test_topics_with_other_partitions_are_refused(answering: Answering) -> None:
    answering.broker.create_topic("cleaned-x", 3)
    with pytest.raises(ConfigError, match="topic cleaned-x has 3 partitions, raw has 2"):
        answering.run(SPAN, to_topics="x")
    with pytest.raises(ConfigError, match="no suffix for topics"):
        answering.run(SPAN, to_topics="x y")


def test_a_folder_of_something_else_is_refused(answering: Answering) -> None:
    (answering.folder / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no backfill"):
        answering.run(SPAN, to_parquet=answering.folder)
    with parquet.owned(answering.folder), pytest.raises(ConfigError, match="another backfill writes to"):
        answering.run(SPAN, to_parquet=answering.folder)


@pytest.mark.parametrize(
    ("span", "targets", "why"),
    [
        (("2026-11-01", None, "0:1-2"), ("x", None), "exclude each other"),
        (("yesterday", None, None), ("x", None), "'yesterday' is no time"),
        ((None, None, None), (None, None), "say where to"),
        ((None, None, None), ("x", Path("y")), "say where to"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(
    span: tuple[str | None, str | None, str | None], targets: tuple[str | None, Path | None], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        request_of("1", None, span, targets, 1)


def test_two_backfills_into_the_same_topics_are_one(answering: Answering) -> None:
    with InMemorySignal(answering.redis, "pump").lock("backfill-x", 30.0):
        assert answering.run(SPAN, to_topics="x") == Outcome.LOCKED
    assert answering.run(SPAN, to_topics="x") == Outcome.DONE


def test_a_backfill_that_slept_through_its_lease_writes_nothing_more(answering: Answering) -> None:
    def asleep(done: int, total: int) -> None:
        if done < 100:
            answering.redis.expire_leases()
            InMemorySignal(answering.redis, "pump").lock("backfill-x", 30.0).__enter__()

    assert answering.run(SPAN, asleep, to_topics="x") == Outcome.LOCKED
    assert answering.wrote("x")["cleaned-x"] == []


def test_a_server_that_is_away_is_an_exit_code_not_a_crash(answering: Answering) -> None:
    answering.store.away()
    assert answering.run(SPAN, to_topics="x") == Outcome.SERVER_AWAY
    answering.store.back()
    answering.redis.away()
    assert answering.run(SPAN, to_topics="x") == Outcome.SERVER_AWAY


def test_records_that_do_not_fit_the_version_end_it_before_the_topics_are_filled_with_them(
    answering: Answering,
) -> None:
    answering.settings = answering.settings.model_copy(
        update={"dead_letters": answering.settings.dead_letters.model_copy(update={"max_in_a_row": 1})}
    )
    assert answering.run(SPAN, to_topics="x") == Outcome.UNUSABLE_DATA
    assert "max_in_a_row" in answering.said[-1]

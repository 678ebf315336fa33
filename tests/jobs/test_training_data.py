"""Which records a retraining is trained on: labels, spans, versions again; and what a version says of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.lineage import LEFT_OUT
from jobs.retrain import Outcome, Progress, retrain
from jobs.training_data import Asked
from stream_ae.errors import ConfigError
from stream_ae.models.serialization import load, save
from stream_ae.records import Float32, Partition
from stream_ae.settings import RetrainSettings, Settings, TopicSettings
from tests.jobs.test_retrain import Retraining, waves


class Feeding(Retraining):
    """With a feedback topic, and with something else to ask for than the newest records."""

    def __init__(self) -> None:
        super().__init__()
        self.broker.create_topic("feedback", partitions=1)
        self.settings = self.settings.model_copy(update={"topics": TopicSettings(feedback="feedback")})

    def set(self, **retrain: Any) -> None:
        group = RetrainSettings.model_validate(self.settings.retrain.model_dump() | retrain)
        self.settings = self.settings.model_copy(update={"retrain": group})

    def ask(self, dry_run: bool = False, **asked: str) -> Outcome:
        quiet = Progress(say=self.said.append, collected=lambda done, total: None, epoch=lambda epoch: None)
        return retrain(self.world, self.settings, quiet, dry_run, Asked(**asked))

    def flag(self, *offsets: int) -> None:
        for offset in offsets:
            event = {"state": "open", "source": {"topic": "raw", "partition": 0, "offset": offset}}
            self.broker.append("flagged", json.dumps(event).encode(), partition=0)

    def say(self, label: str, offset: int, end: int | None = None) -> None:
        source = {"topic": "raw", "partition": 0, "offset": offset} | ({"end_offset": end} if end is not None else {})
        self.broker.append("feedback", json.dumps({"source": source, "label": label}).encode(), partition=0)

    @property
    def all_said(self) -> str:
        return "\n".join(self.said)

    def lineage(self, version: str, folder: Path) -> dict[str, str]:
        return dict(load(self.store.fetch(version, folder)).lineage)


@pytest.fixture
def feeding() -> Feeding:
    return Feeding()


def test_a_record_called_an_anomaly_is_left_out_and_a_flagged_one_called_normal_is_taken_in(
    feeding: Feeding, tmp_path: Path
) -> None:
    feeding.send(waves(600))
    feeding.flag(100, 101, 102)
    feeding.say("normal", 102)
    feeding.say("anomaly", 300, end=310)
    feeding.broker.append("feedback", b"not feedback", partition=0)
    assert feeding.run() == Outcome.PROMOTED
    assert "1 feedback records not readable, the first: feedback/0/2: not a feedback record" in feeding.said[0]
    assert "collected 588 samples" in feeding.said[1]
    assert "2 samples flagged and left out, 10 excluded by operators, 1 flagged but called normal" in feeding.said[1]
    assert feeding.lineage("1", tmp_path / "v")[LEFT_OUT] == "0:100-102,0:300-310"


def test_a_new_label_is_reason_enough_to_train_again(feeding: Feeding) -> None:
    feeding.send(waves(600))
    feeding.run()
    feeding.say("anomaly", 300)
    feeding.run()
    assert len(feeding.store.versions()) == 2
    feeding.run()
    assert len(feeding.store.versions()) == 2


def test_labels_count_in_the_gate_with_what_the_champion_says_of_them(feeding: Feeding) -> None:
    x = waves(600)
    x[500:505] += 9.0
    feeding.send(x)
    feeding.say("anomaly", 500, end=505)
    feeding.say("normal", 550, end=580)
    feeding.run()
    tags = feeding.champion.tags
    assert tags["stream_ae.gate.labelled_anomalies_found"] == "passed: labelled anomalies found 1 (limit 0)"
    assert tags["stream_ae.gate.labelled_normal_flagged"].startswith("passed: labelled normal flagged 0")
    feeding.send(waves(200, first=600))
    feeding.run()
    found = feeding.store.versions()[1].tags["stream_ae.gate.labelled_anomalies_found"]
    assert found.startswith("passed: labelled anomalies found 1 against the champion's 1 (limit 0.48")


def test_without_labels_the_gate_has_no_criterion_of_them(feeding: Feeding) -> None:
    feeding.send(waves(600))
    feeding.run()
    assert not [name for name in feeding.champion.tags if "labelled" in name]


def test_exactly_the_offsets_that_are_asked_for_are_trained_on(feeding: Feeding, tmp_path: Path) -> None:
    feeding.send(waves(900))
    assert feeding.ask(offsets="0:100-700") == Outcome.PROMOTED
    assert feeding.champion.tags["stream_ae.offsets"] == "0:100-700"
    assert feeding.lineage("1", tmp_path / "v")["stream_ae.records"] == "600"


@pytest.mark.parametrize(
    ("offsets", "problem"),
    [
        ("0:0-700", "records 0-50 of topic raw, partition 0 are gone: retention has deleted what was before offset 50"),
        ("0:100-901", "topic raw, partition 0 ends at offset 900, before 901"),
        ("7:0-700", "topic raw has no partition 7, which offsets 7:0-700 name"),
        ("0:100-200,0:300-400", "name partition 0 more than once"),
    ],
)
def test_offsets_that_are_not_there_are_refused_with_the_reason(feeding: Feeding, offsets: str, problem: str) -> None:
    feeding.send(waves(900))
    feeding.broker.delete_records(Partition("raw", 0), 50)
    assert feeding.ask(offsets=offsets) == Outcome.UNUSABLE_DATA
    assert problem in feeding.all_said


def test_what_cannot_be_asked_for_is_refused_before_anything_else(feeding: Feeding) -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        feeding.ask(offsets="0:1-2", like="1")
    with pytest.raises(ConfigError, match="partition:first-end"):
        feeding.ask(offsets="everything")
    with pytest.raises(ConfigError, match="no version 7 to train again"):
        feeding.ask(like="7")


def test_since_last_trains_on_what_has_come_since_the_champion_s_span(feeding: Feeding) -> None:
    feeding.set(since="last")
    feeding.send(waves(600))
    feeding.run()
    assert feeding.champion.tags["stream_ae.offsets"] == "0:0-600"
    assert feeding.run() == Outcome.PROMOTED
    assert "no record has come since the span of version 1 ended: nothing to do" in feeding.all_said
    feeding.send(waves(100, first=600))
    assert feeding.run() == Outcome.UNUSABLE_DATA
    assert "100 usable samples in 100 records of topic raw beyond offsets 0:0-600" in feeding.all_said
    feeding.send(waves(500, first=700))
    feeding.run()
    assert feeding.store.versions()[1].tags["stream_ae.offsets"] == "0:600-1200"


def test_since_last_reaches_back_no_further_than_the_span(feeding: Feeding) -> None:
    feeding.set(since="last", span_s=700.0)
    feeding.send(waves(600))
    feeding.run()
    feeding.send(waves(900, first=600))
    feeding.run()
    assert feeding.store.versions()[1].tags["stream_ae.offsets"] == "0:800-1500"


def test_a_version_says_on_what_and_how_it_was_trained(feeding: Feeding, tmp_path: Path) -> None:
    feeding.send(waves(600))
    feeding.send(waves(600)[-1:])
    feeding.broker.append("raw", b"broken", partition=0)
    feeding.flag(10)
    feeding.run()
    lineage = feeding.lineage("1", tmp_path / "v")
    told = {"topic": "raw", "partitions": "0", "offsets": "0:0-602", "records": "602", "samples": "601", "kept": "600"}
    told |= {"rejected": "1", "flagged": "1", "excluded": "0", "duplicates": "0", "seed": "0", "parent_version": "none"}
    assert {name: lineage[f"stream_ae.{name}"] for name in told} == told
    assert lineage["stream_ae.times"] == "2023-11-14T22:13:20.000Z/2023-11-14T22:23:21.000Z"
    assert json.loads(lineage["stream_ae.settings"])["training"]["window"] == 8
    beside = feeding.champion.tags
    assert (
        beside.items() >= {f"stream_ae.{name}": told[name] for name in ("topic", "offsets", "parent_version")}.items()
    )
    assert not {"stream_ae.records", "stream_ae.settings", LEFT_OUT} & beside.keys()


def test_a_version_that_is_trained_again_has_the_same_weights_whatever_was_said_meanwhile(feeding: Feeding) -> None:
    feeding.send(waves(400))
    feeding.send(waves(400), stream="t", partition=1)
    feeding.flag(10, 200)
    feeding.run()
    feeding.flag(11, 300)
    feeding.say("anomaly", 20, end=40)
    feeding.send(waves(300, first=400))
    training = feeding.settings.training.model_copy(update={"seed": 5, "window": 16})
    feeding.settings = feeding.settings.model_copy(update={"training": training})
    assert feeding.ask(like="1") == Outcome.PROMOTED
    assert "version 1 came out again with the same weights" in feeding.all_said
    assert len(feeding.store.versions()) == 1


def test_a_version_that_comes_out_otherwise_is_a_new_one_that_says_so(feeding: Feeding, tmp_path: Path) -> None:
    feeding.send(waves(600))
    feeding.run()
    folder = feeding.store.fetch("1", tmp_path / "v")
    detector = load(folder)
    spoilt = json.loads(detector.lineage["stream_ae.settings"])
    spoilt["training"]["seed"] = 9
    lineage = dict(detector.lineage) | {"stream_ae.settings": json.dumps(spoilt)}
    save(replace(detector, lineage=lineage), folder)
    other = feeding.store.register(folder, {"stream_ae.code_version": "stream-ae 0.0.1"}, {})
    feeding.ask(like=other.version)
    assert any("weights are not those of version 2, which stream-ae 0.0.1 trained" in said for said in feeding.said)
    assert feeding.store.versions()[2].tags["stream_ae.like"] == "2"


def test_a_version_whose_records_are_gone_cannot_be_trained_again(feeding: Feeding) -> None:
    feeding.send(waves(600))
    feeding.run()
    feeding.broker.delete_records(Partition("raw", 0), 1)
    assert feeding.ask(like="1") == Outcome.UNUSABLE_DATA
    assert "records 0-1 of topic raw, partition 0 are gone: retention" in feeding.all_said


def test_a_version_that_does_not_say_how_it_was_trained_cannot_be_trained_again(
    feeding: Feeding, tmp_path: Path
) -> None:
    feeding.send(waves(600))
    feeding.run()
    folder = feeding.store.fetch("1", tmp_path / "v")
    save(replace(load(folder), lineage={"source": "pump.csv"}), folder)
    feeding.store.register(folder, {}, {})
    assert feeding.ask(like="2") == Outcome.UNUSABLE_DATA
    assert "version 2 does not say on which records" in feeding.all_said


def test_the_summary_tells_span_counts_verdict_version_and_workers(feeding: Feeding) -> None:
    feeding.send(waves(600))
    feeding.flag(10)
    progress = Progress(say=feeding.said.append, collected=lambda done, total: None, epoch=lambda epoch: None)
    retrain(feeding.world, feeding.settings, progress)
    told = dict(progress.summary.rows())
    assert told["span"] == "0:0-600 of raw"
    assert told["samples"] == "599 of 600, 1 streams"
    assert told["left out"].startswith("1 flagged, 0 excluded by operators")
    assert (told["verdict"], told["version"], told["workers"]) == ("the first version", "default/1", "0 on it, 0 not")
    assert told["faults found"].startswith("passed  ")
    assert np.isfinite(float(told["loss"].split()[1]))


def test_a_stuck_sensor_is_left_out_and_said_and_the_next_version_knows_what_is_usual(
    feeding: Feeding, tmp_path: Path
) -> None:
    x = waves(900)
    x[300:500, 1] = 0.5
    feeding.send(x)
    assert feeding.run() == Outcome.PROMOTED
    assert any(said.startswith("warning: channel 'b' of stream 's' stands at 0.5 for 200") for said in feeding.said)
    assert json.loads(feeding.lineage("1", tmp_path / "v")["stream_ae.still"])["now"] == {"a": 1, "b": 1}
    feeding.send(waves(30, first=900))
    feeding.send(np.repeat(waves(1, first=930), 600, axis=0))
    feeding.set(since="last")
    assert feeding.run() == Outcome.UNUSABLE_DATA
    assert "2 channels that usually move stand still in 95% of what was collected" in feeding.all_said
    feeding.set(check_data=False)
    assert feeding.run() != Outcome.UNUSABLE_DATA


def test_a_version_that_was_trained_without_a_stuck_sensor_comes_out_again(feeding: Feeding) -> None:
    x = waves(900)
    x[300:500, 1] = 0.5
    feeding.send(x)
    feeding.run()
    feeding.ask(like="1")
    assert "version 1 came out again with the same weights" in feeding.all_said


def _noise(count: int) -> Float32:
    return np.random.default_rng(5).normal(0, 1, (count, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (_noise(600), "the values are noise"),
        (np.full((600, 2), 3.0, np.float32), "none of the 2 channels ever changes"),
        (np.full((600, 2), np.nan, np.float32), "0 rows with at least one value"),
    ],
)
def test_garbage_is_refused_with_the_reason(feeding: Feeding, x: Float32, problem: str) -> None:
    feeding.send(x)
    assert feeding.run() == Outcome.UNUSABLE_DATA
    assert problem in feeding.all_said
    assert feeding.store.versions() == []


@pytest.mark.parametrize("asked", [Asked(offsets=""), Asked(like="")])
def test_what_is_asked_for_by_an_empty_text_is_refused(asked: Asked) -> None:
    with pytest.raises(ConfigError, match="is a shell variable not set"):
        asked.check(Settings())

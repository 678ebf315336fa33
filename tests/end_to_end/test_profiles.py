"""Profiles on real servers: learnt by the job, kept in MLflow, announced in Redis, taken up by a running worker."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jobs.adapt import Outcome, run
from stream_ae import AutoencoderDetector
from tests.end_to_end.world import (
    CHANNELS,
    START_MS,
    PipelineOnServers,
    eventually,
    good_records,
    record,
    signal_rows,
)

Make = Callable[..., PipelineOnServers]
# The records' Kafka times are years old.
EVER_S = 1e9


def test_a_running_worker_judges_a_stream_by_the_profile_that_was_learnt_meanwhile_as_offline(
    make_pipeline: Make, model_folders: list[Path]
) -> None:
    pipeline = make_pipeline("profile", adapt={"span_s": EVER_S})
    pipeline.publish(model_folders[0])
    x = signal_rows(400, seed=3)
    x[:, 0] += 1.5  # drifted since the model was fitted
    drifted = [
        record("drifted", START_MS - 1000 * (400 - i), dict(zip(CHANNELS, map(float, row), strict=True)))
        for i, row in enumerate(x)
    ]
    pipeline.send([*drifted[:300], *good_records("short", 50)])
    pipeline.start_worker()
    pipeline.await_traces(350)
    assert run(pipeline.settings) == Outcome.PUBLISHED
    eventually(lambda: pipeline.status()[0].profiles is not None, "the worker has the profiles")
    assert pipeline.status()[0].problems == ()
    pipeline.send([*drifted[300:], *good_records("short", 10, start_ms=START_MS + 60_000)])
    pipeline.await_traces(460)
    headers = pipeline.cleaned.headers
    assert ["stream-ae-profile" in some for some in headers] == [False] * 350 + [True] * 100 + [False] * 10
    assert headers[400]["stream-ae-profile"] == b"1"
    detector = AutoencoderDetector.load(model_folders[0]).adapt(x[:300])
    fleet = detector.detector_.threshold
    assert detector.threshold_ > fleet
    scores = np.array([float(some["stream-ae-score"]) for some in headers[350:450]])
    # Six significant digits in the header; a batch of another size may round differently.
    np.testing.assert_allclose(scores, detector.decision_function(x)[300:], rtol=1e-3, atol=1e-4)
    flags = np.array([int(some["stream-ae-flag"]) for some in headers])
    assert np.mean(flags[350:450] == detector.predict(x)[300:]) > 0.99
    assert flags[:300].mean() > flags[350:450].mean()
    events = [json.loads(value or b"") for value in pipeline.flagged.values]
    assert {event["profile"] for event in events if event["source"]["offset"] < 350} == {None}
    later = [event for event in events if event["source"]["offset"] >= 350 and event["stream"] == "drifted"]
    for event in later:
        assert event["profile"] == "1"
        np.testing.assert_allclose(event["threshold"], detector.threshold_, rtol=1e-3)

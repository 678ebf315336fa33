"""The latent topic is delivered as the others are: before the commit, or with it."""

import numpy as np
import pytest

from stream_ae.errors import DeliveryError
from stream_ae.flow.latent import decode_latent
from stream_ae.records import OutgoingBatch
from stream_ae.settings import Settings, TopicSettings
from stream_ae.testing import InMemoryBroker, InMemorySink, ManualClock
from tests.worker.fakes import CodingModel, OneWorker, broker_with_topics, sample

TOPICS = TopicSettings(latent="latent")


@pytest.fixture(params=["at_least_once", "exactly_once"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings.model_validate({"topics": TOPICS, "delivery": request.param})


def world(settings: Settings) -> tuple[InMemoryBroker, OneWorker]:
    clock = ManualClock(moves_itself=True)
    broker = broker_with_topics(clock, settings.topics)
    sink = InMemorySink(broker)
    values = [sample(float(second), second) for second in range(5)]
    times, nothing = np.full(5, clock.wall_ms(), np.int64), [None] * 5
    sink.produce(OutgoingBatch("raw", np.zeros(5, np.int32), times, nothing, values, [()] * 5))
    sink.flush(1.0)
    return broker, OneWorker(broker, clock, settings)


def test_codes_are_there_once_the_inputs_are_committed(settings: Settings) -> None:
    broker, one = world(settings)
    one.join(CodingModel())
    one.turn_until(lambda: one.committed() == 5)
    codes = [decode_latent(record.value, record.headers)[0].tolist() for record in broker.records("latent")]
    assert codes == [[mean, 1.0] for mean in (0.0, 0.25, 0.75, 1.5, 2.5)]


def test_codes_that_are_not_acknowledged_commit_nothing(settings: Settings) -> None:
    broker, one = world(settings)
    broker.refuse("latent")
    one.join(CodingModel())
    with pytest.raises(DeliveryError):
        one.turn_until(lambda: one.committed() > 0)
    assert one.committed() == 0

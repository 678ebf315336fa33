"""How a worker is connected to Kafka: its place among the others, where it reads from, how its outputs leave."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from stream_ae.clock import Clock
from stream_ae.errors import ConfigError, LockHeldError, TransientError
from stream_ae.kafka.delivery import AtLeastOnce, Delivery, ExactlyOnce
from stream_ae.kafka.driver import open_sink, open_source, open_transactional_sink, open_transactional_source
from stream_ae.ports import ModelSignal, RecordSource
from stream_ae.settings import Settings
from stream_ae.telemetry import Log

log = Log("worker.connection")

# How long a dead worker's slot stays taken.
SLOT_LEASE_S = 15.0
MOST_SLOTS = 10_000


@contextmanager
def connected(settings: Settings, signal: ModelSignal, clock: Clock) -> Iterator[tuple[RecordSource, Delivery]]:
    """A source that has not joined its group yet, and the delivery that the settings ask for.

    What is not committed when the block is left is dropped. Raises ConfigError where the settings cannot be met.
    """
    with ExitStack() as stack:
        slot = instance_id = None
        if settings.delivery == "exactly_once" or settings.kafka.static_membership:
            slot = stack.enter_context(claimed_slot(settings, signal))
        if settings.kafka.static_membership:
            instance_id = slot
        source, delivery = _ends(settings, slot, instance_id, clock)
        stack.callback(delivery.close)
        yield source, delivery


@contextmanager
def claimed_slot(settings: Settings, signal: ModelSignal) -> Iterator[str]:
    """The name of this worker's place: `worker.slot`, else the first number that nobody has, leased from Redis.

    A slot never has two owners for long: Kafka puts the older one out of service (a transactional id, a static
    member). Raises ConfigError if there is neither a setting nor Redis.
    """
    if settings.worker.slot is not None:
        yield settings.worker.slot
        return
    with ExitStack() as stack:
        for number in range(MOST_SLOTS):
            try:
                stack.enter_context(signal.lock(f"slot:{settings.kafka.group_id}:{number}", SLOT_LEASE_S))
            except LockHeldError:
                continue
            except TransientError as error:
                raise ConfigError(
                    f"this worker needs a slot and Redis is not there to give one ({error}): set worker.slot to a name "
                    "that no other worker of the group has, such as its StatefulSet ordinal"
                ) from error
            break
        log.info("slot claimed", slot=number)
        yield str(number)


def _ends(settings: Settings, slot: str | None, instance_id: str | None, clock: Clock) -> tuple[RecordSource, Delivery]:
    kafka = settings.kafka
    if settings.delivery == "at_least_once":
        source = open_source(kafka, clock, instance_id)
        return source, AtLeastOnce(source, open_sink(kafka, clock), kafka.delivery_timeout_s)
    reading = open_transactional_source(kafka, clock, instance_id)
    # The same over restarts: what its predecessor left open is aborted at once, instead of holding readers up.
    sink = open_transactional_sink(kafka, f"stream-ae.{kafka.group_id}.{slot}", clock)
    return reading, ExactlyOnce(reading, sink, kafka.delivery_timeout_s, clock)

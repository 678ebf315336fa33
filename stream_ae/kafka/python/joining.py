"""A way round a fault of kafka-python 3.0.12 that keeps groups with short polls from ever settling."""

from kafka import KafkaConsumer
from kafka.future import Future

REPEATED_AFTER_S = 0.005
LONG_ENOUGH_TO_SEE_MS = 100
"""The poll after `repeat_finished_join` must last for longer than REPEATED_AFTER_S."""


def repeat_finished_join(consumer: KafkaConsumer) -> bool:
    """Let the next poll see a join that finished while nobody polled; true if there was one.

    `join_group_async` takes a finished join for none at all and joins again, which makes every other member join
    again too; with polls of milliseconds nearly every join finishes between two of them. So the finished one is
    replaced by one that finishes a moment later with the same assignment.
    """
    coordinator = consumer._coordinator
    finished = coordinator._join_task
    if finished is None or not finished.succeeded():
        return False
    repeated = Future()

    async def repeat() -> None:
        await consumer._net.sleep(REPEATED_AFTER_S)
        repeated.success(finished.value)

    coordinator._join_task = repeated
    consumer._net.call_soon_with_future(repeat)
    return True

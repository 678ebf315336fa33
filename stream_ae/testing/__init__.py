"""For tests, ours and yours: a clock that the test moves, and the ports in memory, with faults on demand.

These pass the same contract tests as the real clients.
"""

from stream_ae.testing.broker import InMemoryBroker, InMemoryRecord
from stream_ae.testing.clock import ManualClock
from stream_ae.testing.kafka import InMemoryReader, InMemorySink, InMemorySource
from stream_ae.testing.registry import InMemoryJobHistory, InMemoryRedis, InMemorySignal, InMemoryStore
from stream_ae.testing.run_log import InMemoryRun, InMemoryRunLog
from stream_ae.testing.transactions import InMemoryTransactionalSink

__all__ = [
    "ManualClock",
    "InMemoryBroker",
    "InMemoryRecord",
    "InMemorySource",
    "InMemorySink",
    "InMemoryTransactionalSink",
    "InMemoryReader",
    "InMemoryStore",
    "InMemoryRedis",
    "InMemorySignal",
    "InMemoryJobHistory",
    "InMemoryRun",
    "InMemoryRunLog",
]

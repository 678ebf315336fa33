"""Every metric by name, type and unit, and the set-up of logging."""

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_ae.histogram import Bins

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LATENCY_BINS = Bins((0.0, *LATENCY_BUCKETS_S))


class WorkerMetrics:
    """What one worker counts. Handed in, so that two workers in one process (a test) do not share counters."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        r = self.registry
        self.records = Counter("stream_ae_records", "Raw records answered", registry=r)
        self.samples = Counter("stream_ae_samples", "Samples scored", registry=r)
        self.flagged = Counter("stream_ae_flagged_samples", "Samples above the threshold", registry=r)
        self.dead_letters = Counter("stream_ae_dead_letters", "Records that could not be used", ["reason"], registry=r)
        self.batches = Counter("stream_ae_batches", "Batches the model answered", registry=r)
        self.commits = Counter("stream_ae_commits", "Offset commits", registry=r)
        self.aborts = Counter("stream_ae_transaction_aborts", "Transactions that failed and were repeated", registry=r)
        self.rewinds_cut = Counter(
            "stream_ae_rewinds_cut", "Assigned partitions whose rewind span retention had cut", registry=r
        )
        self.lost_offsets = Counter(
            "stream_ae_lost_offsets", "Offsets that retention deleted before they were read", registry=r
        )
        self.reloads = Counter("stream_ae_model_reloads", "Model versions put into service", registry=r)
        self.reload_failures = Counter("stream_ae_model_reload_failures", "Model versions refused", registry=r)
        self.profile_reloads = Counter(
            "stream_ae_profile_reloads", "Versions of the stream profiles put into service", registry=r
        )
        self.profile_reload_failures = Counter(
            "stream_ae_profile_reload_failures", "Versions of the stream profiles refused", registry=r
        )
        self.model_s = Histogram(
            "stream_ae_model_seconds", "Model time per batch", buckets=LATENCY_BUCKETS_S, registry=r
        )
        self.latency_s = Histogram(
            "stream_ae_latency_seconds",
            "Kafka time of a batch's oldest record to its outputs being produced",
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.batch_records = Histogram(
            "stream_ae_batch_records", "Records per batch", buckets=tuple(4.0**k for k in range(8)), registry=r
        )
        self.lag_records = Gauge("stream_ae_lag_records", "Records not yet read, all assigned partitions", registry=r)
        self.streams = Gauge("stream_ae_streams", "Streams with a window in memory", registry=r)
        self.stalled = Gauge("stream_ae_stalled", "1 while a stage makes no progress though it should", registry=r)
        self.degraded = Gauge("stream_ae_degraded", "1 while a server is away or a version was refused", registry=r)


class KeyValueFormatter(logging.Formatter):
    """`2026-11-23T05:11:07.123Z INFO worker model swapped name=pump from=16 to=17`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        line = super().format(record)
        if not fields:
            return line
        head, newline, rest = line.partition("\n")
        return head + "".join(f" {name}={_shown(value)}" for name, value in fields.items()) + newline + rest


def _shown(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text or not text else text


class Log:
    """A logger of constant messages with fields: `log.info("model swapped", name="pump", to="17")`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"stream_ae.{name}")

    def debug(self, message: str, **fields: object) -> None:
        self._logger.debug(message, extra={"fields": fields})

    def info(self, message: str, **fields: object) -> None:
        self._logger.info(message, extra={"fields": fields})

    def warning(self, message: str, **fields: object) -> None:
        self._logger.warning(message, extra={"fields": fields})

    def error(self, message: str, **fields: object) -> None:
        self._logger.error(message, extra={"fields": fields})

    def exception(self, message: str, **fields: object) -> None:
        """An error with the traceback of the exception being handled."""
        self._logger.exception(message, extra={"fields": fields})


def set_up_logging(level: str) -> None:
    """Our messages at `level` to standard error, other libraries' from WARNING on; times in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = KeyValueFormatter()
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("stream_ae").setLevel(level)

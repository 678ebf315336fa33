"""Kafka, Valkey and MLflow together, on loopback, gone with their owner."""

from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from stream_ae.localdev.kafka import MAX_MESSAGE_BYTES, embedded_kafka
from stream_ae.localdev.mlflow import embedded_mlflow
from stream_ae.localdev.process import Server
from stream_ae.localdev.valkey import embedded_valkey


class Stack:
    """The three servers of a pipeline, started and stopped side by side; data in `folder`, which the caller owns."""

    def __init__(self, folder: Path, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.folder = folder
        self.kafka = embedded_kafka(folder / "kafka", max_message_bytes)
        self.valkey = embedded_valkey(folder / "valkey")
        self.mlflow = embedded_mlflow(folder / "mlflow")

    @property
    def servers(self) -> tuple[Server, Server, Server]:
        return self.kafka, self.valkey, self.mlflow

    def settings_overrides(self) -> dict[str, str]:
        """Environment variables that point every stream-ae command at these servers."""
        return {
            "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.address,
            "STREAM_AE_REDIS__URL": self.valkey.address,
            "STREAM_AE_MLFLOW__TRACKING_URI": self.mlflow.address,
        }

    def start(self) -> None:
        """Return when all three answer; if one does not, or on Ctrl-C, none is left running."""
        with ThreadPoolExecutor(3) as pool:
            starting = [pool.submit(server.start) for server in self.servers]
            try:
                for started in as_completed(starting):
                    started.result()
            except BaseException:
                # Nobody waits a minute for MLflow when Kafka has failed or Ctrl-C was pressed.
                for server in self.servers:
                    server.cancel()
                wait(starting)
                self.stop()
                raise

    def stop(self) -> None:
        with ThreadPoolExecutor(3) as pool:
            stopping = [pool.submit(server.stop) for server in self.servers]
        for future in stopping:
            future.result()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

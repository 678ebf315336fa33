"""One round: known input while a fault strikes, then quiet, then the comparison with an undisturbed run."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.localdev.stack import Stack
from stream_ae.records import ModelVersion
from stream_ae.settings import Settings
from tests.chaos.compare import Verdict, judged, topics_of
from tests.chaos.faults import FAULTS
from tests.chaos.feed import Feed
from tests.chaos.fleet import Fleet
from tests.chaos.stage import Group, Stage
from tests.end_to_end.world import CLOCK, PipelineOnServers

PARTITIONS = 3
WORKERS = 2
# So many records of each partition are answered before the fault: windows are full, offsets committed.
BEFORE = 60
MODELS = {"json": "chaos", "images": "chaos-images"}
# A U-Net takes minutes, and it is not what breaks. A tenth of the feed's frames is spoilt: so many flags must not look
# like a bad version to a retraining that watches its roll-out.
QUICK = {"denoiser": "autoencoder", "max_epochs": 2, "false_alarm_rate": 0.02}
# Readers wait that long for what a dead worker left open, if nobody takes its place.
TRANSACTION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Which round: the same one has the same input and the same dice."""

    fault: str
    delivery: str
    number: int
    records: str = "json"

    @property
    def seed(self) -> int:
        return crc32(f"{self.fault}/{self.number}".encode())


@dataclass(frozen=True, slots=True)
class Played:
    """How a round ended. recovery_s: from the fault's end until all that was sent before it was answered, visibly."""

    plan: Plan
    verdict: Verdict
    recovery_s: float
    restarts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Theatre:
    """What rounds share: servers, and two registered versions for each kind of records."""

    stack: Stack
    versions: Mapping[str, tuple[ModelVersion, ModelVersion]]
    folder: Path


def play(theatre: Theatre, plan: Plan) -> Played:
    """Play a round; every wait in it is bounded, and a wait that fails names what it waited for."""
    folder = theatre.folder / f"{plan.seed:08x}-{CLOCK.wall_ms()}"
    folder.mkdir()
    settings = settings_of(theatre.stack, plan, folder.name)
    topics = settings.topics
    # Known input has times of its own, which retention would take for old.
    names = (topics.raw, topics.cleaned, topics.flagged, topics.dead_letters)
    create_topics(settings.kafka, [TopicSpec(name, PARTITIONS, config={"retention.ms": "-1"}) for name in names])
    pipeline = PipelineOnServers(settings, folder)
    dice = random.Random(plan.seed)
    with (
        Group(settings.kafka) as group,
        Feed(settings, PARTITIONS, plan.seed) as feed,
        Fleet(settings, folder) as fleet,
    ):
        versions = theatre.versions[plan.records]
        stage = Stage(pipeline, theatre.stack, fleet, feed, group, versions, dice, folder)
        stage.publish(versions[0])
        recovery_s = _struck(stage, plan)
    verdict = judged(topics_of(pipeline), feed.partitions, _fetching(pipeline, folder))
    return Played(plan, verdict, recovery_s, tuple(fleet.restarts))


def _struck(stage: Stage, plan: Plan) -> float:
    """Start, let it run, strike, drain; the seconds of recovery."""
    for _ in range(WORKERS):
        stage.fleet.start()
    stage.await_running(WORKERS)
    stage.await_committed(dict.fromkeys(range(PARTITIONS), BEFORE), "the workers run smoothly before the fault")
    FAULTS[plan.fault](stage)
    over_s, sent = CLOCK.monotonic_s(), stage.feed.sent()
    stage.await_committed(sent, f"what was sent until the fault ({plan.fault}) was over is answered")
    stage.await_visible()
    recovery_s = CLOCK.monotonic_s() - over_s
    stage.feed.stop()
    stage.await_committed(stage.feed.sent(), "everything is answered")
    for member in list(stage.fleet.members):
        stage.fleet.dismiss(member)
    stage.await_visible()
    return recovery_s


def settings_of(stack: Stack, plan: Plan, unique: str) -> Settings:
    transactions = {"transaction_timeout_s": TRANSACTION_TIMEOUT_S} if plan.delivery == "exactly_once" else {}
    return Settings.model_validate(
        {
            "pipeline": MODELS[plan.records],
            "decode": {"records": plan.records},
            "delivery": plan.delivery,
            "kafka": {
                "bootstrap_servers": stack.kafka.address,
                "group_id": unique,
                # The brokers' shortest session: the classic protocol's, as KIP-848 waits 45 s for a killed member.
                "group_protocol": "classic",
                "session_timeout_s": 6.0,
                **transactions,
            },
            "topics": {name: f"{unique}-{name}" for name in ("raw", "cleaned", "flagged", "dead_letters")},
            "redis": {"url": stack.valkey.address},
            "mlflow": {"tracking_uri": stack.mlflow.address},
            **({"training": QUICK} if plan.records == "images" else {}),
            "worker": {"heartbeat_s": 0.5, "reconcile_interval_s": 1.0, "commit_interval_s": 0.1},
        }
    )


def _fetching(pipeline: PipelineOnServers, folder: Path) -> Callable[[str], Path]:
    return lambda version: pipeline.store.fetch(version, folder / f"judge-{version}")

"""The demo, step by step: train, serve, stream, retrain under load, break some records, audit."""

from dataclasses import dataclass

from stream_ae.cli.audit import Audited, run_audit
from stream_ae.cli.demo.material import Material
from stream_ae.cli.demo.screen import Screen
from stream_ae.cli.demo.streaming import Pipeline, Stream
from stream_ae.cli.demo.subscriber import Subscriber
from stream_ae.cli.demo.world import World
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader, open_sink
from stream_ae.localdev.child import Child
from stream_ae.localdev.replay import batches
from stream_ae.ports import RecordSink
from stream_ae.records import Float64

WORKERS = 2
PARTITIONS = 3
# Generous: a machine that is busy with something else is slow, not wrong.
STEP_TIMEOUT_S = 600.0
# The stream lasts about twice as long as the first training did, so that the second one ends in its midst.
SHORTEST_STREAM_S, TRAININGS_LONG = 40.0, 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """What the story leaves for the report, beside the topics; `rate` is what the stream reached, records a second."""

    audited: Audited
    reload_s: float
    latency_ms: Float64
    rate: float


def tell(world: World, material: Material, screen: Screen, rate: float | None) -> Told:
    """Run the whole story on servers that answer. Without a rate the stream is paced by how fast training is here."""
    kafka, topics = world.settings.kafka, world.settings.topics
    create_topics(kafka, [TopicSpec(name, PARTITIONS) for name in topics.names()])
    sink = open_sink(kafka, world.clock)
    try:
        _replay_training_part(world, material, screen, sink)
        training_s = _train_first_version(world, screen)
        workers = _start_workers(world, screen)
        subscriber = Subscriber(world.settings, world.clock)
        subscriber.start()
        try:
            chosen = rate or material.test_records / max(SHORTEST_STREAM_S, TRAININGS_LONG * training_s)
            since_ms, since_s = world.clock.wall_ms(), world.clock.monotonic_s()
            with screen.step("streaming", material.test_records) as step:
                reload_s = Stream(world, material, Pipeline(sink, workers, subscriber), chosen).run(step)
                reached = material.test_records / (world.clock.monotonic_s() - since_s)
                step.done = (
                    f"{material.test_records:,} records streamed at {reached:.0f}/s; meanwhile version 2 was trained, "
                    f"and both workers ran it {reload_s:.2f} s after its announcement"
                )
            audited = _audit(world, screen, subscriber)
        finally:
            subscriber.stop()
    finally:
        sink.close()
    return Told(audited, reload_s, subscriber.latencies_ms(since_ms), reached)


def _replay_training_part(world: World, material: Material, screen: Screen, sink: RecordSink) -> None:
    topic = world.settings.topics.raw
    with screen.step("replaying the training part", material.train_records) as step:
        sent = 0
        for batch in batches(material.train, topic):
            sink.produce(batch)
            sent += len(batch)
            step.show(f"replaying the training part: {sent:,}", sent)
        sink.flush(world.settings.kafka.delivery_timeout_s)
        step.done = f"{sent:,} records of {len(material.train)} servers in topic {topic}"


def _train_first_version(world: World, screen: Screen) -> float:
    """How long it took."""
    began_s = world.clock.monotonic_s()
    with screen.step("stream-ae retrain: training version 1 from the topic") as step:
        retraining = world.spawn("retrain-1", ["retrain"])
        world.wait_until(retraining.check_done, "the first retraining", STEP_TIMEOUT_S)
        step.done = "version 1 trained from the topic, registered in MLflow, promoted, announced"
    return world.clock.monotonic_s() - began_s


def _start_workers(world: World, screen: Screen) -> list[Child]:
    """The workers, caught up with the training part, so that the stream finds them waiting."""
    with screen.step(f"starting {WORKERS} workers") as step:
        names = [f"worker-{number}" for number in range(1, WORKERS + 1)]
        children = [world.spawn(name, ["worker"], STREAM_AE_WORKER__NAME=name) for name in names]

        def ready() -> bool:
            seen = world.workers()
            return len(seen) == WORKERS and all(worker.model and worker.partitions for worker in seen)

        world.wait_until(ready, "starting the workers", STEP_TIMEOUT_S, children)
        step.show("workers answer the training part")
        world.wait_until(lambda: world.lag() == 0, "catching up", STEP_TIMEOUT_S, children)
        step.done = f"{WORKERS} workers run version 1 and have answered the training part"
    return children


def _audit(world: World, screen: Screen, subscriber: Subscriber) -> Audited:
    with screen.step("audit: reading raw, cleaned and dead letters") as step:
        world.wait_until(lambda: world.lag() == 0, "answering the rest", STEP_TIMEOUT_S)
        reader = open_reader(world.settings.kafka, world.clock)
        try:
            audited = run_audit(reader, world.settings, world.clock, wait_s=0.0)
        finally:
            reader.close()
        world.wait_until(lambda: subscriber.records >= audited.report.cleaned, "the subscriber", STEP_TIMEOUT_S)
        subscriber.check()
        report = audited.report
        step.done = f"audit: of {report.raw:,} raw records {report.lost:,} lost, {report.doubled:,} doubled"
    return audited

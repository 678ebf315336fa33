"""One span of the raw topic again, through a chosen version: scored and denoised into topics or Parquet files.

    python -m jobs.backfill --config stream-ae.yaml --version 3 --from 2026-11-01T00:00Z --to-parquet november

Ended at any moment and started again by the same command it goes on, and nothing is missing or doubled.
Exit codes: 0 done, 2 configuration or refused, 4 the version or the records cannot be used, 5 another backfill into
these topics is running, 7 a server is away, 130 interrupted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Protocol

import typer

from jobs.one_shot import EXIT_AWAY, EXIT_CONFIG, EXIT_INTERRUPTED, run_once
from stream_ae.backfill.parquet import CHUNK, ParquetTarget, missing, owned, planned, schema_of
from stream_ae.backfill.replay import Source, replayed
from stream_ae.backfill.spans import Asked, check_there, spans_of, time_ms
from stream_ae.backfill.topics import Topics, TopicTarget, Writing, prepare, renamed
from stream_ae.backfill.written import found_written
from stream_ae.cli.backfill import (
    From,
    Offsets,
    ProfilesOption,
    Replication,
    To,
    ToParquet,
    ToTopics,
    VersionOption,
)
from stream_ae.cli.models import fetched
from stream_ae.clock import SystemClock
from stream_ae.digest import fingerprint
from stream_ae.errors import ConfigError, LockHeldError, ModelError, TooManyDeadLetters, TransientError
from stream_ae.flow import profile_folder
from stream_ae.flow.codecs import unfit
from stream_ae.flow.emission import Outputs
from stream_ae.flow.headers import software
from stream_ae.flow.model import ServedModel
from stream_ae.kafka.admin import Created, TopicSpec, create_topics, partition_count
from stream_ae.kafka.driver import open_reader, open_sink
from stream_ae.models.version import load
from stream_ae.ports import ModelSignal, ModelStore, OffsetRange, RecordReader, RecordSink
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import KafkaSettings, Settings
from stream_ae.telemetry import Log
from stream_ae.training.marks import offset_ranges, offsets_text
from stream_ae.worker.device import chosen_device

log = Log("backfill")


class Outcome(IntEnum):
    """How a backfill ended: the exit code that a scheduler sees, with the meanings of `jobs.retrain`."""

    DONE = 0
    CONFIG = EXIT_CONFIG
    UNUSABLE_DATA = 4
    LOCKED = 5
    SERVER_AWAY = EXIT_AWAY
    INTERRUPTED = EXIT_INTERRUPTED


@dataclass(frozen=True, slots=True)
class Request:
    """What shall be answered again, by which version, and where that goes: a suffix of topics, or a folder."""

    asked: Asked
    version: str = "champion"
    profiles: str | None = None
    to_topics: str | None = None
    to_parquet: Path | None = None
    replication: int = 1


@dataclass(frozen=True, slots=True)
class World:
    """What a backfill talks to. `profiles`: where versions of the streams' profiles live."""

    reader: RecordReader
    topics: Topics
    open_sink: Callable[[], RecordSink]
    store: ModelStore
    profiles: ModelStore
    signal: ModelSignal


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a person sees how far it is; every call may be ignored. `answered`: offsets, of how many."""

    say: Callable[[str], None]
    answered: Callable[[int, int], None]


class Target(Protocol):
    """Where the answers of one partition go."""

    def take(self, reached: int, outputs: Outputs) -> None: ...

    def finish(self) -> None: ...


def request_of(
    version: str,
    profiles: str | None,
    span: tuple[str | None, str | None, str | None],
    targets: tuple[str | None, Path | None],
    replication: int,
) -> Request:
    """Of what the command line says: times from and to, or offsets; a suffix or a folder. Raises ConfigError."""
    start, end, offsets = span
    if offsets is not None and (start is not None or end is not None):
        raise ConfigError("--offsets and --from, --to exclude each other: offsets, or Kafka times")
    if (targets[0] is None) == (targets[1] is None):
        raise ConfigError("say where to: either --to-topics SUFFIX or --to-parquet FOLDER")
    asked = Asked(time_ms(start) if start else None, time_ms(end) if end else None, offsets)
    return Request(asked, version, profiles, *targets, replication)


def backfill(world: World, settings: Settings, request: Request, progress: Progress) -> Outcome:
    """Answer a span again, or what is missing of it. Raises ConfigError for what is refused."""
    try:
        with TemporaryDirectory(prefix="stream-ae-backfill-") as scratch:
            source = _source(world, settings, request, Path(scratch))
            if request.to_parquet is not None:
                return _into_parquet(world, source, request.asked, request.to_parquet, progress)
            # Two at once would both find the same records missing.
            with world.signal.lock(f"backfill-{request.to_topics}", settings.retrain.lock_lease_s) as lease:
                return _into_topics(world, source, request, partial(world.signal.check, lease), progress)
    except LockHeldError as error:
        progress.say(
            f"a backfill into topics of suffix {request.to_topics} is running, or was killed just now: {error}"
        )
        return Outcome.LOCKED
    except TransientError as error:
        progress.say(f"a server is away: {error}; the same command goes on from here")
        return Outcome.SERVER_AWAY
    except (ModelError, TooManyDeadLetters) as error:
        progress.say(f"it cannot go on: {error}")
        return Outcome.UNUSABLE_DATA
    except KeyboardInterrupt:
        progress.say("interrupted: the same command goes on from here")
        return Outcome.INTERRUPTED


def _source(world: World, settings: Settings, request: Request, scratch: Path) -> Source:
    """The version, loaded; outputs go to topics of the suffix, if to topics at all."""
    version, folder = fetched(world.store, request.version, scratch)
    names = settings.topics
    if request.to_topics is not None:
        names = renamed(names, request.to_topics)
    else:
        names = names.model_copy(update={"latent": None})
    detector = load(folder, chosen_device(settings.worker))
    model: ServedModel = detector.with_identity(version.identity).with_codes(names.latent is not None)
    wrong = unfit(model, settings.decode)
    if wrong is not None:
        raise ConfigError(f"version {version.version} {wrong}")
    profiles = None
    if request.profiles is not None:
        found, folder = fetched(world.profiles, request.profiles, scratch / "profiles", profiles=True)
        profiles = profile_folder.load(folder).with_identity(found.identity)
        if not profiles.fits(model):
            raise ConfigError(
                f"profiles {found.version} were learnt with {profiles.model.name}/{profiles.model.version}, not with "
                f"version {version.version}: name others, or leave out --profiles"
            )
    settings = settings.model_copy(update={"topics": names})
    return Source(world.reader, model, profiles, settings, software(), tables=request.to_parquet is not None)


def _into_topics(
    world: World, source: Source, request: Request, fence: Callable[[], None], progress: Progress
) -> Outcome:
    names = source.settings.topics
    asked = spans_of(world.reader, names.raw, request.asked)
    made = prepare(world.topics, names, request.replication)
    if made.created:
        progress.say(f"created {', '.join(made.created)}, kept for ever (retention.ms=-1)")
    written = found_written(world.reader, names, asked, source.model.identity)
    spans = [replace(span, begin=written.begins[span.partition.number]) for span in asked]
    check_there(world.reader, spans, request.asked)
    with closing(world.open_sink()) as sink:
        writing = Writing(sink, names, source.settings.kafka.delivery_timeout_s, fence)
        for span, count in _counted(spans, progress):
            _answer(source, span, TopicTarget(writing, written, span.partition.number), count)
    outputs = [name for name in names.names() if name != names.raw]
    progress.say(f"offsets {offsets_text(asked)} of topic {names.raw} are answered in {', '.join(outputs)}")
    return Outcome.DONE


def _into_parquet(world: World, source: Source, asked: Asked, folder: Path, progress: Progress) -> Outcome:
    topic = source.settings.topics.raw
    with owned(folder):
        known = planned(folder, _plan(source, asked), lambda: offsets_text(spans_of(world.reader, topic, asked)))
        spans = [part for span in offset_ranges(topic, known) for part in missing(folder, span)]
        check_there(world.reader, spans, asked)
        schema = schema_of(source.model.channels, frames=source.model.frame is not None)
        for span, count in _counted(spans, progress):
            with closing(ParquetTarget(folder, schema, span)) as target:
                _answer(source, span, target, count)
    progress.say(f"offsets {known} of topic {topic} are answered in {folder}")
    return Outcome.DONE


def _plan(source: Source, asked: Asked) -> dict[str, object]:
    """What the content of the files depends on."""
    settings, model, profiles = source.settings, source.model.identity, source.profiles
    rules = [settings.decode, settings.images, settings.decide, settings.dead_letters, settings.batch.state_ttl_s]
    return {
        "topic": settings.topics.raw,
        "span": str(asked),
        "model": f"{model.name}/{model.version}",
        "digest": model.digest,
        "profiles": profiles.identity.version if profiles is not None else None,
        "settings": fingerprint([str(rule) for rule in rules]),
        "chunk": CHUNK,
    }


def _counted(spans: Sequence[OffsetRange], progress: Progress) -> Iterator[tuple[OffsetRange, Callable[[int], None]]]:
    """Each span, and whom to tell how much of it is done."""
    total, before = sum(span.end - span.begin for span in spans), 0
    for span in spans:
        yield span, partial(_tell, progress, before, total)
        before += span.end - span.begin


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress.answered(before + done, total)


def _answer(source: Source, span: OffsetRange, target: Target, count: Callable[[int], None]) -> None:
    for said in replayed(source, span):
        target.take(said.reached, said.outputs)
        count(said.reached - span.begin)
    target.finish()
    count(span.end - span.begin)


@dataclass(frozen=True, slots=True)
class _Brokers:
    """`Topics` of real brokers."""

    settings: KafkaSettings

    def partition_count(self, name: str) -> int:
        return partition_count(self.settings, name)

    def create(self, specs: Sequence[TopicSpec]) -> Created:
        return create_topics(self.settings, specs)


def run(settings: Settings, request: Request, progress: Progress | None = None) -> int:
    """One backfill on the servers of `settings`; the exit code."""
    clock = SystemClock()
    with ExitStack() as stack:
        reader = stack.enter_context(closing(open_reader(settings.kafka, clock)))
        signal = stack.enter_context(closing(RedisSignal(settings.redis, settings.pipeline, clock)))
        store, profiles = (MlflowStore(settings.mlflow, name) for name in (settings.pipeline, settings.profiles))
        open_a_sink = partial(open_sink, settings.kafka, clock)
        world = World(reader, _Brokers(settings.kafka), open_a_sink, store, profiles, signal)
        outcome = backfill(world, settings, request, progress or logged_progress())
    log.info("backfill ended", outcome=outcome.name.lower(), exit_code=int(outcome))
    return int(outcome)


def logged_progress() -> Progress:
    """Progress as log lines: for schedulers and containers."""
    return Progress(
        say=lambda sentence: log.info(sentence),
        answered=lambda done, total: log.debug("answering", done=done, total=total),
    )


def main(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    version: VersionOption = "champion",
    profiles: ProfilesOption = None,
    from_: From = None,
    to: To = None,
    offsets: Offsets = None,
    to_topics: ToTopics = None,
    to_parquet: ToParquet = None,
    replication: Replication = 1,
) -> None:
    """Score and denoise a span of the raw topic again; the exit code says how it ended."""
    asked, targets = (from_, to, offsets), (to_topics, to_parquet)
    run_once("backfill", config, lambda s: run(s, request_of(version, profiles, asked, targets, replication)))


if __name__ == "__main__":
    typer.run(main)

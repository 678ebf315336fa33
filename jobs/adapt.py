"""One learning of stream profiles: collect, infer, learn, register, announce; workers take them up while running.

    python -m jobs.adapt --config stream-ae.yaml

Exit codes: 0 published or nothing new to do, 2 configuration, 4 there is no model or no stream with enough rows,
5 another learning is running, 7 a server is away or refuses, or a disk is full, 130 interrupted.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer

from jobs.one_shot import EXIT_CONFIG, EXIT_INTERRUPTED, RUN_KEY, TAG, no_room, run_once, software
from stream_ae.clock import Clock, SystemClock
from stream_ae.digest import fingerprint, folder_digest
from stream_ae.errors import ConfigError, DigestError, LockHeldError, ModelError, TransientError
from stream_ae.flow.profile_folder import save
from stream_ae.flow.profiles import Profiles
from stream_ae.kafka.driver import open_reader
from stream_ae.models.detector import Detector
from stream_ae.models.images.detector import ImageDetector
from stream_ae.models.version import load as load_version
from stream_ae.ports import Desired, Lease, ModelSignal, ModelStore, RecordReader
from stream_ae.records import ModelIdentity, ModelVersion
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import Settings
from stream_ae.telemetry import Log
from stream_ae.training.adapt import adapted, by_stream, gathered
from stream_ae.training.span import Span, span_of

log = Log("adapt")

MODEL = f"{TAG}model"


class Outcome(IntEnum):
    """How it ended: the exit code that a scheduler sees, with the meanings of `jobs.retrain`."""

    PUBLISHED = 0
    CONFIG = EXIT_CONFIG
    UNUSABLE_DATA = 4
    LOCKED = 5
    SERVER_AWAY = 7
    INTERRUPTED = EXIT_INTERRUPTED


@dataclass(frozen=True, slots=True)
class Registry:
    """Where versions of one thing live, and where it is said which one shall run."""

    store: ModelStore
    signal: ModelSignal


@dataclass(frozen=True, slots=True)
class World:
    """What the job talks to, and the lock that it holds meanwhile."""

    reader: RecordReader
    models: Registry
    profiles: Registry
    clock: Clock
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a person sees how far it is; every call may be ignored."""

    say: Callable[[str], None]
    collected: Callable[[int, int], None]


def adapt(world: World, settings: Settings, progress: Progress) -> Outcome:
    """Learn profiles once. Raises ConfigError for settings that cannot work; everything else is an outcome."""
    try:
        with (
            world.profiles.signal.lock("adapt", settings.retrain.lock_lease_s) as lease,
            TemporaryDirectory(prefix="stream-ae-adapt-") as scratch,
        ):
            return _adapt(replace(world, lease=lease), settings, progress, Path(scratch))
    except LockHeldError as error:
        progress.say(f"profiles of pipeline {settings.pipeline} are being learnt already: {error}")
        return Outcome.LOCKED
    except TransientError as error:
        progress.say(f"a server is away: {error}")
        return Outcome.SERVER_AWAY
    except ModelError as error:
        progress.say(f"MLflow does not take the profiles: {error}")
        return Outcome.SERVER_AWAY
    except OSError as error:
        progress.say(no_room(error))
        return Outcome.SERVER_AWAY


def learn_anew(world: World, settings: Settings, progress: Progress) -> None:
    """For the version that is in service now, if streams had profiles: those before do not apply to it.

    Whatever comes of it, what was put into service stands; the next run of this job tries again.
    """
    try:
        if _outdated(world.profiles.store.champion(), world.models.store.champion()):
            adapt(world, settings, progress)
    except (TransientError, ModelError) as error:
        progress.say(f"the version is in service, but no profiles were learnt for it: {error}")


def _outdated(profiles: ModelVersion | None, model: ModelVersion | None) -> bool:
    """Whether there are profiles, and of another version than the model."""
    if profiles is None or model is None:
        return False
    return profiles.tags.get(MODEL) != f"{model.name}/{model.version}"


def _adapt(world: World, settings: Settings, progress: Progress, scratch: Path) -> Outcome:
    span = span_of(world.reader, settings.topics.raw, settings.adapt.span_s, world.clock.wall_ms())
    before = world.profiles.store.champion()
    try:
        model = _model_in_service(world.models)
        key = _run_key(settings, span, model)
        if before is not None and before.tags.get(RUN_KEY) == key:
            progress.say(f"profiles {before.version} were learnt from exactly this span and model: nothing to do")
            return _announced(world, before, progress)
        profiles = _learnt(world, settings, span, _loaded(world.models.store, model, scratch), progress)
    except (ConfigError, ModelError) as error:
        progress.say(f"no profiles can be learnt: {error}")
        return Outcome.UNUSABLE_DATA
    folder = scratch / "profiles"
    save(profiles, folder)
    tags = {
        RUN_KEY: key,
        MODEL: f"{model.name}/{model.version}",
        TAG + "topic": settings.topics.raw,
        TAG + "offsets": span.offsets,
        TAG + "code_version": software(),
    }
    made = _registered(world.profiles.store, folder, tags, profiles, before)
    if world.lease is not None:
        world.profiles.signal.check(world.lease)
    world.profiles.store.promote(made.version)
    return _announced(world, made, progress)


def _model_in_service(models: Registry) -> ModelIdentity:
    """What workers run: the desired version, else the champion. Raises ConfigError if there is none."""
    desired = models.signal.desired()
    if desired is not None:
        return desired.model
    champion = models.store.champion()
    if champion is None:
        raise ConfigError("there is no model yet that profiles could belong to: `stream-ae retrain` makes one")
    return champion.identity


def _loaded(store: ModelStore, model: ModelIdentity, scratch: Path) -> Detector:
    folder = store.fetch(model.version, scratch / "model")
    found = folder_digest(folder)
    if found != model.digest:
        raise DigestError(
            f"{model.name}/{model.version} has digest {found[:12]}, but {model.digest[:12]} was announced: announce "
            "another version with `stream-ae models promote`"
        )
    detector = load_version(folder)
    if isinstance(detector, ImageDetector):
        raise ConfigError(f"{model.name}/{model.version} is for frames: profiles are of streams of sensors alone")
    return detector.with_identity(model)


def _learnt(world: World, settings: Settings, span: Span, detector: Detector, progress: Progress) -> Profiles:
    collected = gathered(
        world.reader, settings, span, detector.channels, lambda done: progress.collected(done, span.records)
    )
    streams = by_stream(collected)
    profiles = adapted(detector, streams, settings.adapt.kind, settings.training.false_alarm_rate)
    progress.say(
        f"collected {collected.kept} samples of {len(streams)} streams from {span.records} records "
        f"({collected.counts.rejected} not readable); {len(profiles.streams)} streams have enough for a profile, "
        f"thresholds {profiles.threshold.min():.3g} to {profiles.threshold.max():.3g} "
        f"(the model's: {detector.threshold:.3g})"
    )
    return profiles


def _registered(
    store: ModelStore, folder: Path, tags: dict[str, str], profiles: Profiles, before: ModelVersion | None
) -> ModelVersion:
    """The version of these profiles; where nothing has changed since the ones before, or a run died, a known one."""
    digest = folder_digest(folder)
    if before is not None and before.digest == digest:
        return before
    newest = store.versions()[-1:]
    if newest and newest[0].digest == digest:
        return newest[0]
    metrics = {
        "streams": float(len(profiles.streams)),
        "threshold_smallest": float(profiles.threshold.min()),
        "threshold_median": float(np.median(profiles.threshold)),
        "threshold_largest": float(profiles.threshold.max()),
    }
    return store.register(folder, tags, metrics)


def _announced(world: World, made: ModelVersion, progress: Progress) -> Outcome:
    """Say that these shall run, unless that has been said."""
    desired = world.profiles.signal.desired()
    if desired is None or desired.model.digest != made.digest:
        world.profiles.signal.announce(Desired(made.identity, world.clock.wall_ms(), "adapted"), world.lease)
        progress.say(f"{made.name}/{made.version} is announced to the workers")
    return Outcome.PUBLISHED


def _run_key(settings: Settings, span: Span, model: ModelIdentity) -> str:
    """What the profiles depend on, as one name: the same records, model, settings and code give the same key."""
    parts = [
        software(), settings.topics.raw, span.offsets, model.digest, settings.adapt.model_dump_json(),
        settings.decode.model_dump_json(), settings.training.false_alarm_rate,
    ]  # fmt: skip
    return fingerprint(parts)


def run(settings: Settings, progress: Progress | None = None) -> int:
    """Learn profiles once on the servers of `settings`; the exit code."""
    clock = SystemClock()
    with ExitStack() as stack:
        reader = open_reader(settings.kafka, clock)
        stack.callback(reader.close)
        models, profiles = (
            Registry(
                MlflowStore(settings.mlflow, name),
                stack.enter_context(closing(RedisSignal(settings.redis, name, clock))),
            )
            for name in (settings.pipeline, settings.profiles)
        )
        outcome = adapt(World(reader, models, profiles, clock), settings, progress or logged_progress())
    log.info("learning of profiles ended", outcome=outcome.name.lower(), exit_code=int(outcome))
    return int(outcome)


def logged_progress() -> Progress:
    """Progress as log lines: for schedulers and containers."""
    return Progress(
        say=lambda sentence: log.info(sentence),
        collected=lambda done, total: log.debug("collecting", done=done, total=total),
    )


def main(config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None) -> None:
    """Learn the profiles of all streams once; the exit code says how it ended."""
    run_once("adapt", config, run)


if __name__ == "__main__":
    typer.run(main)

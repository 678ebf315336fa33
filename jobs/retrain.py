"""One retraining: collect, fit, calibrate, compare, register, promote, announce, watch the workers.

    python -m jobs.retrain --config stream-ae.yaml
    torchrun --nproc-per-node 2 -m jobs.retrain --config stream-ae.yaml

Which records it is trained on is settled in `jobs.training_data`, what a version says of them in `jobs.lineage`.

Exit codes: 0 promoted or already done, 2 configuration, 3 the gate kept the champion, 4 the data cannot be used,
5 another retraining is running or took over, 6 the workers did not come up and the champion before is back, 7 a
server is away or refuses, or a disk is full, 130 interrupted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer

from jobs import adapt as adapting
from jobs.again import compared, found_again
from jobs.lineage import LoadedVersion
from jobs.one_shot import EXIT_AWAY, EXIT_CONFIG, EXIT_INTERRUPTED, RUN_KEY, TAG, no_room, run_once
from jobs.ranks import on_ranks
from jobs.summary import Summary, collected_sentence
from jobs.training_data import Asked, Plan, planned
from jobs.unfinished import Unfinished
from stream_ae.clock import Clock, SystemClock
from stream_ae.errors import ConfigError, LockHeldError, ModelError, TransientError
from stream_ae.kafka.driver import open_reader
from stream_ae.models.version import load as load_version
from stream_ae.models.version import save
from stream_ae.ports import Desired, Lease, ModelSignal, ModelStore, RecordReader
from stream_ae.records import ModelVersion
from stream_ae.registry.rollout import (
    ROLLED_BACK,
    Healthy,
    Rollout,
    finish_rollback,
    roll_back,
    roll_out,
    rolled_back,
    watch,
)
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import Settings
from stream_ae.telemetry import Log
from stream_ae.training import Epoch
from stream_ae.training.collect import Collected, Labelled
from stream_ae.training.contamination import train_without_anomalies
from stream_ae.training.gate import Verdict, verdict
from stream_ae.training.kinds import AnyTrained, measured_together, pictures_of, train_collected
from stream_ae.training.ranks import ALONE, Ranks

log = Log("retrain")

VERDICT = f"{TAG}verdict"
CANDIDATE = "candidate"
# Of the records answered while a new version is watched, so many times the asked false alarms may be flagged.
FLAGGED_OF_ASKED, LEAST_FLAGGED, DEAD_SHARE = 20.0, 0.2, 0.05


class Outcome(IntEnum):
    """How a retraining ended: the exit code that a scheduler sees."""

    PROMOTED = 0
    CONFIG = EXIT_CONFIG
    NOT_PROMOTED = 3
    UNUSABLE_DATA = 4
    LOCKED = 5
    ROLLED_BACK = 6
    SERVER_AWAY = EXIT_AWAY
    INTERRUPTED = EXIT_INTERRUPTED


@dataclass(frozen=True, slots=True)
class World:
    """What a retraining talks to, what it trains on, where an unfinished one is kept, and the lock that it holds."""

    reader: RecordReader
    store: ModelStore
    signal: ModelSignal
    clock: Clock
    profiles: adapting.Registry | None = None
    ranks: Ranks = ALONE
    checkpoint_dir: Path | None = None
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a person sees how far it is; every call may be ignored. `summary` is complete when it has ended."""

    say: Callable[[str], None]
    collected: Callable[[int, int], None]
    epoch: Callable[[Epoch], None]
    summary: Summary = field(default_factory=Summary)


class _Disk(NamedTuple):
    """What a retraining has on this machine: a folder that goes when it ends, and what is left of one before."""

    scratch: Path
    unfinished: Unfinished


def retrain(
    world: World, settings: Settings, progress: Progress, dry_run: bool = False, asked: Asked | None = None
) -> Outcome:
    """Run one retraining; a dry run trains and compares, and registers nothing.

    Raises ConfigError for settings that cannot work; everything else is an outcome.
    """
    wanted = asked or Asked()
    wanted.check(settings)
    try:
        with world.signal.lock("retrain", settings.retrain.lock_lease_s) as lease, _scratch() as scratch:
            world = replace(world, lease=lease)
            disk = _Disk(scratch, Unfinished(world.checkpoint_dir, settings))
            outcome = _retrain(world, settings, progress, disk, dry_run, wanted)
            disk.unfinished.over()
            if outcome == Outcome.PROMOTED and world.profiles is not None and not dry_run:
                registries = adapting.Registry(world.store, world.signal), world.profiles
                others = adapting.World(world.reader, *registries, world.clock)
                adapting.learn_anew(others, settings, adapting.Progress(progress.say, progress.collected))
            return outcome
    except LockHeldError as error:
        progress.say(f"another retraining of pipeline {settings.pipeline} is running: {error}")
        return Outcome.LOCKED
    except TransientError as error:
        progress.say(f"a server is away: {error}")
        return Outcome.SERVER_AWAY
    except ModelError as error:
        progress.say(f"MLflow has not what is needed, or does not take what it is given: {error}")
        return Outcome.SERVER_AWAY
    except OSError as error:
        progress.say(no_room(error))
        return Outcome.SERVER_AWAY
    except KeyboardInterrupt:
        onward = "goes on from its last checkpoint" if settings.retrain.resume_within_s else "begins anew"
        progress.say(f"interrupted: the same command {onward}")
        raise


def _retrain(world: World, settings: Settings, progress: Progress, disk: _Disk, dry_run: bool, asked: Asked) -> Outcome:
    scratch, unfinished = disk
    if not dry_run and (back := finish_rollback(world.store, world.signal)) is not None:
        progress.say(f"MLflow was away when a version was rolled back: {back.version} is champion there too now")
    champion = _champion(world, scratch, progress)
    again = found_again(world.store, asked.like, scratch / "again")
    try:
        plan = planned(world.reader, settings, asked, (champion, again), unfinished, world.clock.wall_ms())
        if champion is not None and _nothing_new(plan, champion, progress):
            return _rolled_out(world, settings, progress, champion.version, _in_service(world))
        trained, labelled = _trained(world, plan, unfinished, progress)
    except (ConfigError, ModelError) as error:
        progress.say(f"the data cannot be used: {error}")
        return Outcome.UNUSABLE_DATA
    for warning in trained.report.warnings:
        progress.say(f"warning: {warning}")
    save(trained.detector, scratch / CANDIDATE)
    if again is not None:
        same, sentence = compared(again, scratch / "again", scratch / CANDIDATE)
        progress.say(sentence)
        if same:
            return Outcome.PROMOTED
    judged = _judged(trained, champion, settings, labelled)
    progress.summary.judged(judged)
    if dry_run:
        progress.summary.facts["dry run"] = "nothing is registered or promoted"
        progress.say(
            f"dry run, nothing is registered: it would {'' if judged.promote else 'not '}be promoted, {judged.reason}"
        )
        return Outcome.PROMOTED if judged.promote else Outcome.NOT_PROMOTED
    tags = plan.tags(trained.detector.lineage) | {VERDICT: judged.reason} | judged.tags()
    candidate = _registered(world.store, trained, scratch, tags, judged.metrics())
    progress.say(f"registered {candidate.name}/{candidate.version}: {judged.reason}")
    progress.summary.facts["version"] = f"{candidate.name}/{candidate.version}"
    return _taken_up(world, settings, progress, judged, candidate, champion)


def _taken_up(
    world: World,
    settings: Settings,
    progress: Progress,
    judged: Verdict,
    candidate: ModelVersion,
    champion: LoadedVersion | None,
) -> Outcome:
    """Into service with it, if the gate says so and it was not there before."""
    why = rolled_back(candidate, world.signal.desired())
    if why is not None and settings.retrain.promote != "always":
        progress.say(f"version {candidate.version} was made of the same, and it is left at that: {why}")
        return Outcome.NOT_PROMOTED
    if not judged.promote:
        return Outcome.NOT_PROMOTED
    if world.lease is not None:
        world.signal.check(world.lease)
    world.store.promote(candidate.version)
    return _rolled_out(world, settings, progress, candidate, champion.version if champion is not None else None)


def _nothing_new(plan: Plan, champion: LoadedVersion, progress: Progress) -> bool:
    if champion.version.tags.get(RUN_KEY) == plan.key:
        progress.say(f"version {champion.version.version} was trained on exactly this span: nothing to do")
        return True
    if plan.settings.retrain.since == "last" and not plan.span.records and plan.again is None:
        progress.say(f"no record has come since the span of version {champion.version.version} ended: nothing to do")
        return True
    return False


def _trained(world: World, plan: Plan, unfinished: Unfinished, progress: Progress) -> tuple[AnyTrained, Labelled]:
    """Raises ConfigError or ModelError if the data cannot be used."""
    if plan.labels.unreadable:
        progress.say(f"warning: {plan.labels.unreadable} feedback records not readable, the first: {plan.labels.why}")
    span = plan.span
    data = plan.gathered(world.reader, lambda done: progress.collected(done, span.records))
    progress.say(collected_sentence(data.collected))
    progress.summary.data(plan, data.collected)
    for warning in data.warnings:
        progress.say(f"warning: {warning}")

    def train(collected: Collected) -> AnyTrained:
        return train_collected(
            collected, plan.settings.training, lineage=data.lineage, progress=progress.epoch,
            holdout_share=plan.settings.retrain.holdout_share, clock=world.clock,
            support=unfinished.support(plan.key, collected, world.ranks),
        )  # fmt: skip

    if not plan.may_be_contaminated:
        return train(data.collected), data.collected.labelled
    trained, warnings = train_without_anomalies(data.collected, train)
    for warning in warnings:
        progress.say(f"warning: {warning}")
    return trained, data.collected.labelled


def _champion(world: World, scratch: Path, progress: Progress) -> LoadedVersion | None:
    """The version to compare with; one that cannot be loaded must not stand in the way of its successor."""
    found = world.store.champion()
    if found is None:
        if (served := world.signal.desired()) is not None:
            progress.say(
                f"version {served.model.version} was announced and MLflow has no champion: nothing is compared with"
            )
        return None
    try:
        return LoadedVersion(found, load_version(world.store.fetch(found.version, scratch / "champion")))
    except ModelError as error:
        progress.say(f"champion {found.version} cannot be loaded and is not compared with: {error}")
        return None


def _registered(
    store: ModelStore, trained: AnyTrained, scratch: Path, tags: dict[str, str], judged: dict[str, float]
) -> ModelVersion:
    """The candidate's version; one that was registered before with the same data, settings and code is used again."""
    for known in store.versions():
        if known.tags.get(RUN_KEY) == tags[RUN_KEY]:
            return known
    return store.register(
        scratch / CANDIDATE,
        tags | trained.tags(),
        trained.report.metrics() | judged,
        pictures_of(trained),
        description=f"gate: {tags[VERDICT]}",
    )


def _judged(trained: AnyTrained, champion: LoadedVersion | None, settings: Settings, labelled: Labelled) -> Verdict:
    own, before = measured_together(trained, champion.detector if champion is not None else None, labelled)
    found = verdict(own, before, settings.retrain.tolerance, settings.training.false_alarm_rate)
    asked = settings.retrain.promote
    if asked == "gate" or (asked == "never") != found.promote:
        return found
    return replace(found, promote=asked == "always", reason=f"retrain.promote is {asked}; {found.reason}")


def _in_service(world: World) -> ModelVersion | None:
    """What was announced last: where a run died between promoting and announcing, the version before."""
    desired = world.signal.desired()
    known = world.store.versions() if desired is not None else []
    return next((version for version in known if desired and version.digest == desired.model.digest), None)


def _rolled_out(
    world: World, settings: Settings, progress: Progress, candidate: ModelVersion, before: ModelVersion | None
) -> Outcome:
    """Announce and watch; put the champion before back if a worker does not come up on the candidate."""
    timeout_s = settings.retrain.rollout_timeout_s
    rollout = _announced(world, candidate, timeout_s)
    progress.summary.facts["workers"] = f"{len(rollout.on_it)} on it, {len(rollout.not_on_it)} not"
    served_before = before is not None and before.version == candidate.version
    if rollout.complete:
        progress.say(f"{candidate.name}/{candidate.version} is champion; workers on it: {len(rollout.on_it)}")
        if served_before:
            # Nothing has changed: a worker that is started again meanwhile says nothing against the version.
            return Outcome.PROMOTED
        wrong = watch(world.signal, candidate.identity, world.clock, settings.retrain.watch_s, _healthy(settings))
        if wrong is None:
            return Outcome.PROMOTED
    else:
        stuck = "; ".join(f"{w.worker}: {', '.join(w.problems) or w.health}" for w in rollout.not_on_it)
        wrong = f"after {timeout_s:g} s not every worker runs version {candidate.version} ({stuck})"
    progress.say(wrong)
    if served_before:
        return Outcome.ROLLED_BACK
    if before is None:
        world.store.tag(candidate.version, {ROLLED_BACK: wrong}, f"there is nothing to roll back to: {wrong}")
        return Outcome.ROLLED_BACK
    reason = f"version {candidate.version} rolled back: {wrong}"
    back = Desired(before.identity, world.clock.wall_ms(), reason, candidate.digest)
    roll_back(world.store, world.signal, back, world.clock, timeout_s, world.lease)
    progress.say(f"rolled back: version {before.version} is champion again")
    return Outcome.ROLLED_BACK


def _announced(world: World, candidate: ModelVersion, timeout_s: float) -> Rollout:
    """A run that was asleep between its last look at the lock and the promotion gives the alias back."""
    desired = Desired(candidate.identity, world.clock.wall_ms(), "retrained")
    try:
        return roll_out(world.signal, desired, world.clock, timeout_s, world.lease)
    except LockHeldError:
        champion, others = world.store.champion(), _in_service(world)
        if champion is not None and others is not None and champion.version == candidate.version:
            world.store.promote(others.version)
        raise


def _healthy(settings: Settings) -> Healthy:
    """What is an anomaly is flagged many times as often in an incident, but hardly ever most of the time."""
    return Healthy(max(FLAGGED_OF_ASKED * settings.training.false_alarm_rate, LEAST_FLAGGED), DEAD_SHARE)


@contextmanager
def _scratch() -> Iterator[Path]:
    with TemporaryDirectory(prefix="stream-ae-retrain-") as folder:
        yield Path(folder)


def run(settings: Settings, progress: Progress | None = None, dry_run: bool = False, asked: Asked | None = None) -> int:
    """One retraining on the servers of `settings`; the exit code, on every rank under torchrun."""
    return on_ranks(lambda ranks: _run(settings, progress or logged_progress(), dry_run, asked, ranks))


def _run(settings: Settings, shown: Progress, dry_run: bool, asked: Asked | None, ranks: Ranks) -> int:
    clock = SystemClock()
    reader = open_reader(settings.kafka, clock)
    signal = RedisSignal(settings.redis, settings.pipeline, clock)
    profiles_signal = RedisSignal(settings.redis, settings.profiles, clock)
    try:
        profiles = adapting.Registry(MlflowStore(settings.mlflow, settings.profiles), profiles_signal)
        store = MlflowStore(settings.mlflow, settings.pipeline)
        world = World(reader, store, signal, clock, profiles, ranks, settings.checkpoint_dir)
        outcome = retrain(world, settings, shown, dry_run, asked)
    finally:
        profiles_signal.close()
        signal.close()
        reader.close()
    facts = {name.replace(" ", "_"): text for name, text in shown.summary.facts.items()}
    log.info("retraining ended", outcome=outcome.name.lower(), exit_code=int(outcome), **facts)
    return int(outcome)


def logged_progress() -> Progress:
    """Progress as log lines: for schedulers and containers."""
    return Progress(
        say=lambda sentence: log.info(sentence),
        collected=lambda done, total: log.debug("collecting", done=done, total=total),
        epoch=lambda epoch: log.debug("epoch", number=epoch.number, validation_loss=epoch.validation_loss),
    )


def main(config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None) -> None:
    """Retrain once; the exit code says how it ended."""
    run_once("retrain", config, run)


if __name__ == "__main__":
    typer.run(main)

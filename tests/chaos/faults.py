"""What can go wrong, by name: each function breaks something and returns when it is over.

`Stage.await_...` in a fault says what belongs to its being over; that the records come right is asked of all alike.
"""

import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace

import redis

from stream_ae.models.version import load
from tests.chaos import entry
from tests.chaos.fatal import Step
from tests.chaos.fleet import written
from tests.chaos.stage import Stage, patient
from tests.end_to_end.forked import FORKS
from tests.end_to_end.world import eventually, with_changes

Fault = Callable[[Stage], None]

# Beyond the session of a round's workers (6 s, the shortest that brokers allow) and the time-out of their transactions.
ZOMBIE_S = 30.0
FROZEN_BROKER_S = 20.0
# Longer than the smallest version, so that logs can still be written.
NO_ROOM_BYTES = 16_384
RETRAIN_ENDS_WITHIN_S = 180.0
PROMOTED, LOCKED = 0, 5
# Records of each partition: what is flagged is left out, and spikes flag most of the short windows that hold them.
ENOUGH_TO_RETRAIN = 500


def worker_killed(stage: Stage) -> None:
    stage.wait(0.0, 1.0)
    stage.fleet.kill(stage.dice.choice(stage.fleet.members))


def worker_killed_and_replaced(stage: Stage) -> None:
    worker_killed(stage)
    stage.fleet.start()


def all_workers_killed(stage: Stage) -> None:
    for member in list(stage.fleet.members):
        stage.fleet.kill(member)
    stage.fleet.start()


def zombie(stage: Stage) -> None:
    """A worker that sleeps until its partitions are another's, and wakes with its hands full."""
    sleeper = stage.dice.choice(stage.fleet.members)
    sleeper.send(signal.SIGSTOP)
    stage.wait(ZOMBIE_S)
    sleeper.send(signal.SIGCONT)


def worker_added(stage: Stage) -> None:
    stage.fleet.start()
    stage.await_running(3)


def worker_removed(stage: Stage) -> None:
    stage.fleet.dismiss(stage.dice.choice(stage.fleet.members))


def rolling_restart(stage: Stage) -> None:
    for member in list(stage.fleet.members):
        stage.fleet.dismiss(member)
        stage.fleet.start()
        stage.await_running(2)


def broker_killed(stage: Stage) -> None:
    stage.wait(0.0, 0.5)
    stage.stack.kafka.kill()
    stage.wait(0.5, 3.0)
    stage.stack.kafka.start()


def broker_frozen(stage: Stage) -> None:
    stage.stack.kafka.pause()
    stage.wait(FROZEN_BROKER_S)
    stage.stack.kafka.resume()


def broker_and_worker_killed(stage: Stage) -> None:
    stage.stack.kafka.kill()
    stage.fleet.kill(stage.dice.choice(stage.fleet.members))
    stage.stack.kafka.start()
    stage.fleet.start()


def valkey_killed(stage: Stage) -> None:
    stage.stack.valkey.kill()
    stage.wait(1.0, 3.0)
    stage.stack.valkey.start()


def valkey_frozen(stage: Stage) -> None:
    stage.stack.valkey.pause()
    stage.wait(3.0, 6.0)
    stage.stack.valkey.resume()


def valkey_flushed(stage: Stage) -> None:
    with redis.Redis.from_url(stage.stack.valkey.address) as client:
        client.flushall()


def mlflow_killed_during_start(stage: Stage) -> None:
    """The new worker has no version on its disk: it needs MLflow, and is started again until there is one."""
    stage.fleet.start()
    stage.wait(0.0, 1.5)
    stage.stack.mlflow.kill()
    stage.wait(1.0)
    stage.stack.mlflow.start()
    stage.await_running(3)


def mlflow_killed_during_reload(stage: Stage) -> None:
    stage.publish(stage.versions[1])
    stage.wait(0.0, 0.3)
    stage.stack.mlflow.kill()
    stage.wait(1.0)
    stage.stack.mlflow.start()
    stage.await_running(2, stage.versions[1])


def published_while_a_worker_is_killed(stage: Stage) -> None:
    stage.publish(stage.versions[1])
    stage.wait(0.0, 0.3)
    stage.fleet.kill(stage.dice.choice(stage.fleet.members))
    stage.fleet.start()
    stage.await_running(2, stage.versions[1])


def no_room_for_the_version(stage: Stage) -> None:
    """The disk of the model cache is full when a version is published, and has room again later."""
    for member in stage.fleet.members:
        assert member.process.pid is not None
        resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE, (NO_ROOM_BYTES, resource.RLIM_INFINITY))
    stage.publish(stage.versions[1])
    eventually(
        patient(lambda: all(worker.problems for worker in stage.pipeline.status())), "the workers say what is wrong"
    )
    for member in stage.fleet.members:
        assert member.process.pid is not None
        resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    stage.await_running(2, stage.versions[1])


def retrain_killed(stage: Stage) -> None:
    """At a random moment: there is a champion that can be loaded, and the next retraining goes through."""
    _retrain_dies(stage, None)


def dies(step: Step, in_transactions: Step | None = None) -> Fault:
    """One of two workers is killed at the step (with exactly_once: the other one, if it differs) and replaced."""

    def strike(stage: Stage) -> None:
        nth = stage.dice.randint(1, 10)
        exactly_once = stage.pipeline.settings.delivery != "at_least_once"
        chosen = in_transactions if exactly_once and in_transactions is not None else step
        doomed = stage.fleet.start(replace(chosen, nth=nth))
        calm = stage.fleet.members[0]
        stage.fleet.dismiss(calm)
        eventually(lambda: doomed.process.exitcode is not None, f"{chosen.method} is called {nth} times", 90.0)
        assert doomed.process.exitcode == -signal.SIGKILL, f"{doomed.name} exited with {doomed.process.exitcode}"

    return strike


def retrain_dies(step: Step) -> Fault:
    return lambda stage: _retrain_dies(stage, step)


def _retrain_dies(stage: Stage, step: Step | None) -> None:
    stage.await_committed(dict.fromkeys(stage.feed.partitions, ENOUGH_TO_RETRAIN), "there is enough to train on")
    changes: Mapping[str, Mapping[str, object]] = {
        "training": {"max_epochs": 2, "window": 8, "denoiser": "autoencoder"},
        "retrain": RETRAIN,
    }
    config = written(with_changes(stage.pipeline.settings, changes), stage.folder, "retrain")
    log = stage.folder / "retrain.log"
    job = FORKS.Process(target=entry.run_retrain, args=(config, log, step))
    job.start()
    if step is None:
        stage.wait(0.0, 4.0)
        job.kill()
    job.join(RETRAIN_ENDS_WITHIN_S)
    assert job.exitcode in (-signal.SIGKILL, PROMOTED), f"the retraining exited with {job.exitcode}; see {log}"
    champion = stage.store.champion()
    assert champion is not None
    load(stage.store.fetch(champion.version, stage.folder / "champion"))

    def goes_through() -> bool:
        again = FORKS.Process(target=entry.run_retrain, args=(config, log, None))
        again.start()
        again.join(RETRAIN_ENDS_WITHIN_S)
        assert again.exitcode in (PROMOTED, LOCKED), f"the next retraining exited with {again.exitcode}; see {log}"
        return again.exitcode == PROMOTED

    eventually(goes_through, "the next retraining goes through: the lock is free and its version serves")


# All of the known input, which is older than any span; any candidate is good enough.
RETRAIN = {"span_s": 1e9, "min_samples": 50, "tolerance": 1e6, "lock_lease_s": 3.0}

FAULTS: Mapping[str, Fault] = {
    "one of two workers killed": worker_killed,
    "one of two workers killed, another started": worker_killed_and_replaced,
    "all workers killed, one started": all_workers_killed,
    f"a worker asleep for {ZOMBIE_S:g} s (zombie)": zombie,
    "worker added": worker_added,
    "worker removed": worker_removed,
    "rolling restart": rolling_restart,
    "killed after poll": dies(Step("source", "poll", "after")),
    "killed while the model answers": dies(Step("pipeline", "take", "after")),
    "killed before an output is produced": dies(Step("sink", "produce", "before")),
    "killed after an output is produced": dies(Step("sink", "produce", "after")),
    "killed before outputs are flushed": dies(Step("sink", "flush", "before"), Step("sink", "send_offsets", "before")),
    "killed between flush and commit": dies(Step("source", "commit", "before"), Step("sink", "commit", "before")),
    "killed after commit": dies(Step("source", "commit", "after"), Step("sink", "commit", "after")),
    "broker killed and restarted": broker_killed,
    f"broker frozen for {FROZEN_BROKER_S:g} s": broker_frozen,
    "broker and a worker killed": broker_and_worker_killed,
    "Valkey killed and restarted": valkey_killed,
    "Valkey frozen": valkey_frozen,
    "Valkey flushed": valkey_flushed,
    "MLflow killed while a worker starts": mlflow_killed_during_start,
    "MLflow killed while a version is published": mlflow_killed_during_reload,
    "a version published while a worker is killed": published_while_a_worker_is_killed,
    "no room for a published version": no_room_for_the_version,
    "retraining killed at a random moment": retrain_killed,
    "retraining killed before it registers": retrain_dies(Step("store", "register", "before")),
    "retraining killed before it promotes": retrain_dies(Step("store", "promote", "before")),
    "retraining killed before it announces": retrain_dies(Step("signal", "announce", "before")),
    "retraining killed after it announced": retrain_dies(Step("signal", "announce", "after")),
}

"""The demo's servers, settings and child processes; nothing of them is left after it."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, signal
from tempfile import TemporaryDirectory

from stream_ae.clock import Clock, Deadline
from stream_ae.configuration import NOT_SETTINGS, load
from stream_ae.errors import TransientError
from stream_ae.kafka.admin import group_lag
from stream_ae.kafka.driver import open_sink
from stream_ae.localdev.child import Child
from stream_ae.localdev.stack import Stack
from stream_ae.ports import ModelSignal
from stream_ae.records import OutgoingBatch
from stream_ae.registry.signal import RedisSignal
from stream_ae.settings import Settings
from stream_ae.status import WorkerStatus

LOOK_EVERY_S = 0.1
OUTPUTS = ("cleaned", "flagged", "dead_letters")
OWN_SETTINGS = {
    "STREAM_AE_PIPELINE": "demo",
    # The demo is about the swap: a second version that is a hair worse than the first is promoted all the same.
    "STREAM_AE_RETRAIN__TOLERANCE": "0.25",
    "STREAM_AE_WORKER__HEARTBEAT_S": "0.5",
    "STREAM_AE_RETRAIN__WATCH_S": "5",
}


def pipeline_of_its_own(name: str, topics: str) -> dict[str, str]:
    """Settings of a scene beside the demo's pipeline: names that no other scene has."""
    return {
        "STREAM_AE_PIPELINE": name,
        "STREAM_AE_KAFKA__GROUP_ID": name,
        "STREAM_AE_TOPICS__RAW": topics,
        **{f"STREAM_AE_TOPICS__{kind.upper()}": f"{topics}-{kind.replace('_', '-')}" for kind in OUTPUTS},
    }


class World:
    """Servers and children of one run. Children are `stream-ae` commands with this run's settings."""

    def __init__(self, folder: Path, stack: Stack, clock: Clock) -> None:
        self.folder = folder
        self.stack = stack
        self.clock = clock
        self.environment = _environment(folder, stack)
        self.settings: Settings = load(environment=self.environment).settings
        self.signal: ModelSignal = RedisSignal(self.settings.redis, self.settings.pipeline, clock)
        self.children: list[Child] = []

    def spawn(self, name: str, arguments: Sequence[str], **overrides: str) -> Child:
        """Start `stream-ae ARGUMENTS`; it is stopped with the world."""
        child = Child(name, arguments, self.folder / f"{name}.log", self.environment | overrides)
        self.children.append(child)
        return child

    def workers(self) -> list[WorkerStatus]:
        """What the workers say; none while Redis does not answer."""
        try:
            return self.signal.workers()
        except TransientError:
            return []

    def lag(self, settings: Settings | None = None) -> int:
        """Raw records that the workers have not committed, of the demo's pipeline or of a scene's own."""
        chosen = settings or self.settings
        return sum(group_lag(chosen.kafka, chosen.topics.raw).values())

    def send(self, settings: Settings, batches: Iterable[OutgoingBatch]) -> None:
        """Produce all of it; returns when it has arrived."""
        sink = open_sink(settings.kafka, self.clock)
        try:
            for batch in batches:
                sink.produce(batch)
            sink.flush(settings.kafka.delivery_timeout_s)
        finally:
            sink.close()

    def wait_until(self, holds: Callable[[], bool], what: str, timeout_s: float, watched: Sequence[Child] = ()) -> None:
        """Wait for something that takes a while; TransientError after `timeout_s` or when a watched child has died."""
        deadline, never = Deadline.after(self.clock, timeout_s), threading.Event()
        while not holds():
            for child in watched:
                child.check_running()
            if deadline.passed():
                newest = self.children[-1]
                raise TransientError(f"{what} took longer than {timeout_s:g} s; {newest.name}: {newest.log_tail()}")
            self.clock.wait(never, LOOK_EVERY_S)

    def end(self) -> None:
        """Stop the children, newest first."""
        for child in reversed(self.children):
            child.stop()
        self.signal.close()


@contextmanager
def temporary_world(clock: Clock) -> Iterator[tuple[Stack, Callable[[], World]]]:
    """A stack in a folder of its own and, once it is started, the world on it; all gone at the end."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="stream-ae-demo-", ignore_cleanup_errors=True)))
        stack = Stack(folder)
        cleanup.callback(stack.stop)

        def build() -> World:
            world = World(folder, stack, clock)
            cleanup.callback(world.end)
            return world

        # Entered last, so done first: a second Ctrl-C must not interrupt the cleaning up.
        cleanup.callback(_ignore_interrupts)
        yield stack, build


def _ignore_interrupts() -> None:
    for number in (SIGINT, SIGTERM, SIGHUP):
        signal(number, SIG_IGN)


def _environment(folder: Path, stack: Stack) -> dict[str, str]:
    """The caller's environment without its own stream-ae settings, which are for other servers than ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("STREAM_AE_") or name.upper().startswith(NOT_SETTINGS)
    }
    kept.pop("STREAM_AE_CONFIG", None)
    places = {"STREAM_AE_WORKER__CACHE_DIR": str(folder / "models"), "TMPDIR": str(folder)}
    return kept | stack.settings_overrides() | OWN_SETTINGS | places | {"MLFLOW_DISABLE_TELEMETRY": "true"}

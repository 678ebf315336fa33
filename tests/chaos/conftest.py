"""The servers of the chaos suite, its own, and what its rounds found."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from stream_ae.localdev.stack import Stack
from stream_ae.models.serialization import save
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings, TrainingSettings
from stream_ae.training import train
from tests.chaos.reliability import Row, keep, kept, write_page
from tests.chaos.rounds import MODEL, Theatre
from tests.end_to_end.world import CHANNELS, WINDOW, signal_rows
from tests.page import PAGE

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "var" / "chaos" / "results.jsonl"
ROUNDS = ROOT / "var" / "chaos" / "rounds"


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Kafka, Valkey and MLflow of our own to break, and two small versions registered there."""
    folder = tmp_path_factory.mktemp("chaos")
    with Stack(folder) as stack:
        store = MlflowStore(MlflowSettings(tracking_uri=stack.mlflow.address), MODEL)
        versions = []
        for seed in (0, 1):
            options = TrainingSettings(window=WINDOW, seed=seed, max_epochs=5, threads=1)
            trained = train([signal_rows(1500, stream) for stream in range(2)], CHANNELS, options)
            save(trained.detector, folder / f"version-{seed}")
            versions.append(store.register(folder / f"version-{seed}", {}, {}))
        # Not in pytest's folder, which the next runs clear away: a failed round is looked into there.
        ROUNDS.mkdir(parents=True, exist_ok=True)
        yield Theatre(stack, (versions[0], versions[1]), ROUNDS)


@pytest.fixture(scope="session")
def report() -> Callable[[Row], None]:
    """Keeps what a round found, for the page."""
    return partial(keep, file=RESULTS)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page from everything that is kept: once, when all processes of `make chaos` are through."""
    if session.config.option.markexpr == "chaos" and not hasattr(session.config, "workerinput") and RESULTS.exists():
        write_page(PAGE, kept(RESULTS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "round_number" in metafunc.fixturenames:
        metafunc.parametrize("round_number", range(int(os.environ.get("CHAOS_ROUNDS", "20"))))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Rounds that an earlier run has kept are not played again."""
    played = {(row.number, row.fault, row.delivery) for row in kept(RESULTS)} if RESULTS.exists() else set()
    again = [item for item in items if _round_of(item) in played]
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if item not in again]


def _round_of(item: pytest.Item) -> tuple[object, ...]:
    callspec = getattr(item, "callspec", None)
    names = ("round_number", "fault", "delivery")
    return tuple(callspec.params.get(name) for name in names) if callspec is not None else ()

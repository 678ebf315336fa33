"""The servers of the chaos suite, its own, and what its rounds found."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from stream_ae.localdev.stack import Stack
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings
from tests.chaos.reliability import Row, keep, kept, write_page
from tests.chaos.rounds import MODELS, Theatre
from tests.page import PAGE

ROOT = Path(__file__).parents[2]
RECORDS = os.environ.get("CHAOS_RECORDS", "json")
RESULTS = ROOT / "var" / "chaos" / f"results-{RECORDS}.jsonl"
ROUNDS = ROOT / "var" / "chaos" / "rounds"


@pytest.fixture(scope="session")
def theatre(servers_to_break: Stack, model_folders: Sequence[Path], image_model_folders: Sequence[Path]) -> Theatre:
    """Kafka, Valkey and MLflow to break, and two small versions of each kind registered there."""
    mlflow = MlflowSettings(tracking_uri=servers_to_break.mlflow.address)
    versions = {}
    for records, folders in (("json", model_folders), ("images", image_model_folders)):
        store = MlflowStore(mlflow, MODELS[records])
        first, second = (store.register(folder, {}, {}) for folder in folders)
        versions[records] = (first, second)
    # Not in pytest's folder, which the next runs clear away: a failed round is looked into there.
    ROUNDS.mkdir(parents=True, exist_ok=True)
    return Theatre(servers_to_break, versions, ROUNDS)


@pytest.fixture(scope="session")
def report() -> Callable[[Row], None]:
    """Keeps what a round found, for the page."""
    return partial(keep, file=RESULTS)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page from everything that is kept: once, when all processes of `make chaos` are through."""
    if session.config.option.markexpr == "chaos" and not hasattr(session.config, "workerinput") and RESULTS.exists():
        write_page(PAGE, kept(RESULTS), RECORDS)


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

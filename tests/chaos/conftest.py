"""The servers of the chaos suite, its own, and what its rounds found."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from stream_ae.localdev.stack import Stack
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings
from tests.chaos.reliability import keep, kept, row_of, write_page
from tests.chaos.rounds import MODEL, Played, Theatre

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "var" / "chaos" / "results.jsonl"
ROUNDS = ROOT / "var" / "chaos" / "rounds"
PAGE = ROOT / "docs" / "RELIABILITY.md"


@pytest.fixture(scope="session")
def theatre(servers_to_break: Stack, model_folders: Sequence[Path]) -> Theatre:
    """Kafka, Valkey and MLflow to break, and two small versions registered there."""
    store = MlflowStore(MlflowSettings(tracking_uri=servers_to_break.mlflow.address), MODEL)
    first, second = (store.register(folder, {}, {}) for folder in model_folders)
    # Not in pytest's folder, which the next runs clear away: a failed round is looked into there.
    ROUNDS.mkdir(parents=True, exist_ok=True)
    return Theatre(servers_to_break, (first, second), ROUNDS)


@pytest.fixture(scope="session")
def report() -> Iterator[Callable[[Played], None]]:
    """Keeps what a round found; at the end the page is written from everything that is kept."""
    yield lambda played: keep(row_of(played), RESULTS)
    write_page(PAGE, kept(RESULTS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "round_number" in metafunc.fixturenames:
        first, rounds = (
            int(os.environ.get(name, usual)) for name, usual in (("CHAOS_FIRST", "0"), ("CHAOS_ROUNDS", "20"))
        )
        metafunc.parametrize("round_number", range(first, first + rounds))

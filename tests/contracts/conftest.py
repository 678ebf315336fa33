"""One world per implementation: the contract tests run in each."""

from collections.abc import Callable, Iterator

import pytest

from tests.contracts.worlds import InMemoryWorld, RealWorld, World

REAL = ("confluent", "confluent-classic", "kafka-python")
TRANSACTIONAL = ("confluent", "confluent-classic")


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.servers) for name in REAL)])
def world(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> Iterator[World]:
    made = made_world(request, unique)
    yield made
    made.close()


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.servers) for name in TRANSACTIONAL)])
def transactional_world(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> Iterator[World]:
    """One that can deliver exactly once."""
    made = made_world(request, unique)
    yield made
    made.close()


def made_world(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> World:
    if request.param == "memory":
        return InMemoryWorld(unique)
    driver = request.param.removesuffix("-classic")
    protocol = "auto" if driver == request.param else "classic"
    return RealWorld(driver, request.getfixturevalue("kafka_servers"), unique, group_protocol=protocol)

"""One world per implementation: the contract tests run in each."""

from collections.abc import Callable, Iterator

import pytest

from tests.contracts.worlds import InMemoryWorld, RealWorld, World

REAL = ("confluent", "confluent-classic", "kafka-python")


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.servers) for name in REAL)])
def world(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> Iterator[World]:
    made: World
    if request.param == "memory":
        made = InMemoryWorld(unique)
    else:
        driver = request.param.removesuffix("-classic")
        protocol = "auto" if driver == request.param else "classic"
        made = RealWorld(driver, request.getfixturevalue("kafka_servers"), unique, group_protocol=protocol)
    yield made
    made.close()

"""Where streams have profiles, a retraining learns them for the version that it brings into service, no other."""

from dataclasses import replace

import pytest

from jobs import adapt as adapting
from jobs.adapt import Registry
from jobs.retrain import Outcome
from stream_ae.testing import InMemorySignal, InMemoryStore
from tests.jobs.test_retrain import Retraining, waves


@pytest.fixture
def retraining() -> Retraining:
    return Retraining()


def _profiled(retraining: Retraining) -> Registry:
    """The same pipeline with a registry of profiles."""
    profiles = Registry(
        InMemoryStore(retraining.clock, retraining.settings.profiles),
        InMemorySignal(retraining.redis, retraining.settings.profiles),
    )
    retraining.world = replace(retraining.world, profiles=profiles)
    return profiles


def _adapt(retraining: Retraining, profiles: Registry) -> None:
    models = Registry(retraining.store, retraining.signal)
    others = adapting.World(retraining.world.reader, models, profiles, retraining.clock)
    adapting.adapt(others, retraining.settings, adapting.Progress(retraining.said.append, lambda done, total: None))


def test_where_streams_have_profiles_a_retraining_learns_them_for_the_new_version(retraining: Retraining) -> None:
    profiles = _profiled(retraining)
    retraining.send(waves(600))
    retraining.run()
    _adapt(retraining, profiles)
    retraining.send(waves(300, first=600))
    assert retraining.run() == Outcome.PROMOTED
    champion = profiles.store.champion()
    assert champion is not None
    assert champion.tags[adapting.MODEL] == "default/2"


def test_a_dry_run_learns_no_profiles_though_those_in_service_are_of_another_version(retraining: Retraining) -> None:
    profiles = _profiled(retraining)
    retraining.send(waves(600))
    retraining.run()
    _adapt(retraining, profiles)
    retraining.send(waves(300, first=600))
    retraining.run()
    learnt = profiles.store.versions()
    retraining.store.promote("1")
    retraining.send(waves(300, first=900))
    assert retraining.run(dry_run=True) == Outcome.PROMOTED
    assert profiles.store.versions() == learnt


def test_where_no_stream_has_a_profile_a_retraining_learns_none(retraining: Retraining) -> None:
    profiles = _profiled(retraining)
    retraining.send(waves(600))
    assert retraining.run() == Outcome.PROMOTED
    assert profiles.store.versions() == []

"""`models`: which version a person means, and which one a rollback goes to."""

from pathlib import Path

import pytest

from stream_ae.cli.models import challenger, find_version, version_before
from stream_ae.errors import ConfigError
from stream_ae.ports import Desired
from stream_ae.registry.rollout import ROLLED_BACK
from stream_ae.testing import InMemoryStore, ManualClock


@pytest.fixture
def store(tmp_path: Path) -> InMemoryStore:
    """Three versions, the third one champion."""
    store = InMemoryStore(ManualClock())
    for number in (1, 2, 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text(str(number))
        store.register(folder, {}, {})
    store.promote("3")
    return store


def announced(store: InMemoryStore, *versions: str) -> list[Desired]:
    """Announcements of these versions, newest first."""
    return [Desired(find_version(store, version).identity, 0) for version in versions]


def test_a_version_is_named_by_its_number_or_as_champion(store: InMemoryStore) -> None:
    assert find_version(store, "2").version == "2"
    assert find_version(store, "v2").version == "2"
    assert find_version(store, "champion").version == "3"


def test_the_champion_does_not_score_beside_itself(store: InMemoryStore) -> None:
    assert challenger(store, "2").version == "2"
    with pytest.raises(ConfigError, match="version 3 is the champion"):
        challenger(store, "3")


def test_an_unknown_version_is_refused_with_those_that_exist(store: InMemoryStore) -> None:
    with pytest.raises(ConfigError, match="no version '9'; versions: 1, 2, 3"):
        find_version(store, "9")
    with pytest.raises(ConfigError, match="no champion yet"):
        find_version(InMemoryStore(ManualClock()), "champion")


def test_unknown_profiles_are_not_taken_for_a_version_of_the_model(store: InMemoryStore) -> None:
    with pytest.raises(ConfigError, match="no version '9' of the profiles; versions: 1, 2, 3"):
        find_version(store, "9", profiles=True)
    with pytest.raises(ConfigError, match="`stream-ae adapt` learns them"):
        find_version(InMemoryStore(ManualClock()), "champion", profiles=True)


def test_a_rollback_skips_versions_that_were_never_in_service(store: InMemoryStore) -> None:
    assert version_before(store, announced(store, "3", "1")).version == "1"
    assert version_before(store, announced(store, "3", "2", "1")).version == "2"


def test_a_rollback_without_history_takes_the_next_older_version(store: InMemoryStore) -> None:
    assert version_before(store, []).version == "2"


def test_rolling_back_twice_goes_back_two_versions(store: InMemoryStore) -> None:
    history = announced(store, "3", "2", "1")
    store.promote(version_before(store, history).version)
    history = announced(store, "2", "3", "2", "1")
    assert version_before(store, history).version == "1"


def test_the_first_version_has_nothing_before_it(store: InMemoryStore) -> None:
    store.promote("1")
    with pytest.raises(ConfigError, match="no version before 1 to roll back to"):
        version_before(store, announced(store, "1", "3"))


def test_a_champion_that_was_deleted_by_hand_is_rolled_back_to_what_was_in_service_before_it(
    store: InMemoryStore,
) -> None:
    history = announced(store, "3", "1")
    store.delete("3")
    assert version_before(store, history).version == "1"
    with pytest.raises(ConfigError, match="no champion yet"):
        version_before(store, [])


def test_a_rollback_passes_over_versions_that_were_rolled_back(store: InMemoryStore) -> None:
    store.tag("2", {ROLLED_BACK: "40% of 300 records were flagged"})
    assert version_before(store, announced(store, "3", "1", "2", "1")).version == "1"

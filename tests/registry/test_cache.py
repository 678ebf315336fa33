import resource
from pathlib import Path

import pytest

from stream_ae.clock import SystemClock
from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, TransientError
from stream_ae.records import ModelIdentity
from stream_ae.registry.cache import KEEP, VersionCache
from stream_ae.testing import InMemoryStore


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore(SystemClock(), "pump")


@pytest.fixture
def cache(tmp_path: Path) -> VersionCache:
    return VersionCache(tmp_path / "cache")


def _registered(store: InMemoryStore, tmp_path: Path, content: str) -> ModelIdentity:
    folder = tmp_path / f"made-{content[:8]}"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    return store.register(folder, {}, {}).identity


def test_a_version_is_fetched_once_and_then_served_from_the_disk(
    store: InMemoryStore, cache: VersionCache, tmp_path: Path
) -> None:
    model = _registered(store, tmp_path, "a")
    folder = cache.fetch(store, model)
    assert (folder / "config.json").read_text() == "a"
    store.away()
    assert cache.fetch(store, model) == folder == cache.folder(model.digest)


def test_a_version_that_is_not_what_was_announced_is_refused_and_not_kept(
    store: InMemoryStore, cache: VersionCache, tmp_path: Path
) -> None:
    model = _registered(store, tmp_path, "a")
    announced = ModelIdentity(model.name, model.version, "0" * 64)
    with pytest.raises(DigestError, match="version 1 of pump has digest"):
        cache.fetch(store, announced)
    assert not cache.folder(announced.digest).exists()
    assert list((tmp_path / "cache" / "versions").iterdir()) == []


@pytest.mark.parametrize("digest", ["", "../../elsewhere", "A" * 64])
def test_a_digest_that_is_none_leads_nowhere(store: InMemoryStore, cache: VersionCache, digest: str) -> None:
    with pytest.raises(DigestError, match="has no digest"):
        cache.fetch(store, ModelIdentity("pump", "1", digest))


def test_a_damaged_folder_is_fetched_again(store: InMemoryStore, cache: VersionCache, tmp_path: Path) -> None:
    model = _registered(store, tmp_path, "a")
    (cache.fetch(store, model) / "config.json").write_text("tampered")
    assert folder_digest(cache.fetch(store, model)) == model.digest


def test_a_store_that_is_away_leaves_nothing_half_done(
    store: InMemoryStore, cache: VersionCache, tmp_path: Path
) -> None:
    model = _registered(store, tmp_path, "a")
    store.away()
    with pytest.raises(TransientError):
        cache.fetch(store, model)
    assert not cache.folder(model.digest).exists()
    store.back()
    assert cache.fetch(store, model).is_dir()


def test_a_disk_without_room_is_said_with_what_to_do_and_leaves_nothing_half_done(
    store: InMemoryStore, cache: VersionCache, tmp_path: Path
) -> None:
    model = _registered(store, tmp_path, "a" * 100_000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(TransientError, match=r"version 1 of pump cannot be written to .*: make room there"):
            cache.fetch(store, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((tmp_path / "cache" / "versions").iterdir()) == []
    assert cache.fetch(store, model).is_dir()


def test_the_last_good_version_is_remembered_over_a_restart(
    store: InMemoryStore, cache: VersionCache, tmp_path: Path
) -> None:
    model = _registered(store, tmp_path, "a")
    assert cache.last_good() is None
    cache.fetch(store, model)
    cache.remember_good(model)
    assert VersionCache(tmp_path / "cache").last_good() == model


def test_a_last_good_version_that_is_no_longer_there_is_none(cache: VersionCache) -> None:
    cache.remember_good(ModelIdentity("pump", "1", "1" * 64))
    assert cache.last_good() is None


def test_an_unreadable_note_of_the_last_good_version_is_none(cache: VersionCache, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "last-good.json").write_text("{")
    assert cache.last_good() is None


def test_old_versions_make_room_but_the_last_good_one_stays(
    store: InMemoryStore, cache: VersionCache, tmp_path: Path
) -> None:
    models = [_registered(store, tmp_path, str(number)) for number in range(KEEP + 3)]
    cache.fetch(store, models[0])
    cache.remember_good(models[0])
    for model in models[1:]:
        cache.fetch(store, model)
    kept = [number for number, model in enumerate(models) if cache.folder(model.digest).is_dir()]
    assert kept == [0, *range(len(models) - KEEP, len(models))]


def test_two_workers_share_one_cache(store: InMemoryStore, cache: VersionCache, tmp_path: Path) -> None:
    model = _registered(store, tmp_path, "a")
    other = VersionCache(tmp_path / "cache")

    class Slow(InMemoryStore):
        """While this one fetches, another worker is faster."""

        def fetch(self, version: str, destination: Path) -> Path:
            other.fetch(store, model)
            return store.fetch(version, destination)

    assert cache.fetch(Slow(SystemClock()), model) == other.folder(model.digest)

"""A version that is trained again: found, and compared with what came out."""

from pathlib import Path

from jobs.lineage import CODE, LoadedVersion
from jobs.one_shot import software
from stream_ae.digest import file_digest
from stream_ae.errors import ConfigError, ModelError
from stream_ae.models.serialization import WEIGHTS
from stream_ae.models.version import load as load_version
from stream_ae.ports import ModelStore


def found_again(store: ModelStore, number: str | None, folder: Path) -> LoadedVersion | None:
    """The version of this number, fetched to `folder`; None if none is asked for. Raises ConfigError if it is not
    there."""
    if not number:
        return None
    for known in store.versions():
        if known.version == number:
            try:
                return LoadedVersion(known, load_version(store.fetch(number, folder)))
            except ModelError as error:
                raise ConfigError(f"version {number} cannot be trained again: {error}") from error
    raise ConfigError(f"there is no version {number} to train again: see `stream-ae models list`")


def compared(again: LoadedVersion, was: Path, made: Path) -> tuple[bool, str]:
    """Whether two version folders hold the same weights, and the sentence for a person."""
    digest = file_digest(made / WEIGHTS)
    if digest == file_digest(was / WEIGHTS):
        return True, f"version {again.version.version} came out again with the same weights (sha256 {digest[:12]})"
    by = again.version.tags.get(CODE, "unknown code")
    return False, (
        f"warning: the weights are not those of version {again.version.version}, which {by} trained and not "
        f"{software()}: another release, library or kind of machine computes otherwise"
    )

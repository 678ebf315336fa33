"""Drift bins in and out of `config.json`; without torch, so that who only tells drift need not load it."""

from pathlib import Path

from msgspec import Struct

from stream_ae.errors import ModelError
from stream_ae.marginals import DriftBins, Marginal, Marginals
from stream_ae.models.config import DriftBinsConfig, MarginalConfig, decoded_as


class _Part(Struct):
    """Of the configuration of either kind, what is read here."""

    drift_bins: DriftBinsConfig | None = None


def read_drift_bins(folder: Path) -> DriftBins | None:
    """The bins of the version in a folder; None if it is from before there were any.

    Raises ModelError if it is not to be read.
    """
    config = folder / "config.json"
    try:
        text = config.read_bytes()
    except OSError as error:
        raise ModelError(f"{config} cannot be read ({error.strerror}): fetch the version again") from error
    return bins_of(decoded_as(_Part, text, str(config), "a version's").drift_bins)


def bins_of(config: DriftBinsConfig | None) -> DriftBins | None:
    """What a configuration says of them."""
    return None if config is None else DriftBins(_marginals(config.inputs), _marginals(config.latents))


def bins_config(bins: DriftBins | None) -> DriftBinsConfig | None:
    """How a configuration says it."""
    return None if bins is None else DriftBinsConfig(inputs=_configs(bins.inputs), latents=_configs(bins.latents))


def _marginals(configs: tuple[MarginalConfig, ...]) -> Marginals:
    return Marginals(tuple(Marginal(one.name, one.edges, one.shares, one.usual) for one in configs))


def _configs(marginals: Marginals) -> tuple[MarginalConfig, ...]:
    return tuple(
        MarginalConfig(name=one.name, edges=one.edges, shares=one.shares, usual=one.usual) for one in marginals.each
    )

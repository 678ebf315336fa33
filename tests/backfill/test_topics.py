"""The topics of a backfill, by the names of a pipeline's and a suffix."""

import pytest

from stream_ae.backfill.topics import renamed
from stream_ae.errors import ConfigError
from stream_ae.settings import TopicSettings


def test_outputs_get_the_suffix_and_operators_are_given_no_second_topic() -> None:
    names = renamed(TopicSettings(latent="latent", feedback="feedback"), "v3")
    assert names.names() == ["raw", "cleaned-v3", "flagged-v3", "dead-letters-v3", "latent-v3"]


def test_a_suffix_that_makes_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a b' is no suffix for topics"):
        renamed(TopicSettings(), "a b")

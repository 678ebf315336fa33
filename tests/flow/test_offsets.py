"""What a commit carries, and where the next owner begins."""

import pytest

from stream_ae.flow.offsets import Progress, Rewind, metadata_of, rewind_of, tally_of
from stream_ae.flow.tally import EMPTY, Tally
from stream_ae.records import Position


def test_metadata_gives_the_rewind_offset_back() -> None:
    assert rewind_of(Position(20, metadata_of(Rewind(17, 5)))) == Rewind(17, 5)


def test_metadata_gives_the_tally_back() -> None:
    tally = Tally(2, ((1250, 0), (7, 2)))
    assert tally_of(Position(20, metadata_of(Rewind(17, 5), tally))) == tally


@pytest.mark.parametrize("tally", ['"row":-1', '"newest":[[3,4]]', '"newest":[[-1,-1]]'])
def test_a_tally_that_makes_no_sense_is_an_empty_one_and_the_rewind_offset_still_counts(tally: str) -> None:
    position = Position(20, '{"rewind":17,"time":5,' + tally + "}")
    assert (tally_of(position), rewind_of(position)) == (EMPTY, Rewind(17, 5))


def test_metadata_stays_far_below_what_a_broker_takes() -> None:
    """Kafka's offset.metadata.max.bytes is 4096."""
    tally = EMPTY.with_good(2**40, 2**40)
    for _ in range(20):
        tally = tally.with_broken(10_000)
    assert len(metadata_of(Rewind(2**62, 2**61), tally)) < 512


@pytest.mark.parametrize(
    "metadata",
    ["", "null", "[]", "{}", "not json", '{"rewind": "7"}', '{"rewind": 7.5}', '{"rewind": -1}', '{"rewind": 21}'],
)
def test_metadata_that_makes_no_sense_means_no_rewind(metadata: str) -> None:
    assert rewind_of(Position(20, metadata)) == Rewind(20)
    assert tally_of(Position(20, metadata)) == EMPTY


def test_metadata_of_a_later_version_is_understood_as_far_as_it_goes() -> None:
    assert rewind_of(Position(20, '{"v":2,"rewind":7,"streams":{"a":1}}')) == Rewind(7)


def test_a_partition_without_a_commit_starts_where_the_group_does() -> None:
    progress = Progress.assigned(None)
    assert progress.start is None
    progress.begin(100)
    progress.answered = 105
    assert progress.position() == Position(105, metadata_of(Rewind(100)))


def test_a_partition_starts_at_the_rewind_offset_and_commits_it_again_until_it_knows_better() -> None:
    progress = Progress.assigned(Position(20, metadata_of(Rewind(12, 5))))
    assert (progress.start, progress.live_from) == (12, 20)
    progress.begin(12)
    progress.note(18, Rewind(15, 6))  # still rebuilding: nobody will ever go live there
    progress.answered = 21
    assert progress.position() == Position(21, metadata_of(Rewind(12, 5)))
    progress.note(22, Rewind(16, 6))
    progress.answered = 22
    assert progress.position() == Position(22, metadata_of(Rewind(16, 6)))


def test_the_rewind_offset_is_the_one_as_of_the_committed_offset_not_of_what_was_read_since() -> None:
    progress = Progress.assigned(None)
    progress.begin(0)
    progress.note(10, Rewind(3, 1))
    progress.note(20, Rewind(13, 2))
    progress.answered = 15
    assert progress.position() == Position(15, metadata_of(Rewind(3, 1)))


def test_a_commit_lets_older_rewind_offsets_go_and_keeps_the_one_in_use() -> None:
    progress = Progress.assigned(None)
    progress.begin(0)
    for end in (10, 20, 30):
        progress.note(end, Rewind(end - 5))
    progress.answered = 25
    progress.mark_committed(25)
    assert progress.position() == Position(25, metadata_of(Rewind(15)))
    progress.answered = 30
    assert progress.position() == Position(30, metadata_of(Rewind(25)))

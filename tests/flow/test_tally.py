"""What has left a partition, as the limits on dead letters count it."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stream_ae.flow.tally import BLOCKS, EMPTY, Tally, block_of


def test_a_good_record_ends_the_row() -> None:
    tally = EMPTY.with_broken(100).with_broken(100)
    assert (tally.in_a_row, tally.with_good(1, 100).in_a_row) == (2, 0)


def test_no_good_records_change_nothing() -> None:
    tally = EMPTY.with_broken(100)
    assert tally.with_good(0, 100) is tally


def test_of_the_newest_records_only_whole_blocks_fall_out() -> None:
    tally = EMPTY.with_good(15, 16).with_broken(16)  # 8 blocks of 2
    assert (tally.records, tally.broken, len(tally.newest)) == (16, 1, 8)
    assert tally.with_good(1, 16).records == 17
    assert tally.with_good(2, 16).records == 16


@given(st.randoms(use_true_random=True), st.integers(1, 40))
def test_good_records_count_the_same_one_by_one_and_at_once(random: Random, share_over: int) -> None:
    at_once = one_by_one = EMPTY
    for _ in range(8):
        good = random.choice([0, 1, 3, 10, 50, 1000])
        at_once = at_once.with_good(good, share_over).with_broken(share_over)
        for _ in range(good):
            one_by_one = one_by_one.with_good(1, share_over)
        one_by_one = one_by_one.with_broken(share_over)
        assert at_once == one_by_one
        assert at_once.records < share_over + block_of(share_over)
        assert len(at_once.newest) <= BLOCKS + 1


def test_a_tally_made_for_another_share_over_is_used_as_far_as_it_goes() -> None:
    tally = Tally(0, ((1250, 40),) * 8)
    assert tally.with_good(1, 10_000).records == 10_001
    assert tally.with_good(1, 2_000).records == 2_501
    assert tally.with_good(1, 20_000).records == 10_001

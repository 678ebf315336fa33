"""Large frames go through in tiles, and nobody sees where they met."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stream_ae.models.images import tiles
from stream_ae.models.images.tiles import Tiling


def _same(x: Tensor, observed: Tensor | None) -> Tensor:
    return x


@pytest.mark.parametrize("frame", [(64, 64), (65, 64), (64, 200), (130, 97)])
def test_a_network_that_gives_back_its_input_gives_back_the_frame(frame: tuple[int, int]) -> None:
    x = torch.rand((2, 3, *frame), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Tiling(frame, (64, 64), 16).mapped(_same, x, None), x)


def test_tiles_cover_the_frame_and_overlap_by_what_was_asked_for() -> None:
    tiling = Tiling((64, 200), (64, 64), 16)
    lefts = [left for _, left in tiling.corners]
    assert (lefts[0], lefts[-1] + 64) == (0, 200)
    assert all(later - earlier <= 64 - 16 for earlier, later in pairwise(lefts))


def test_where_tiles_disagree_the_answer_goes_over_smoothly() -> None:
    tiling = Tiling((64, 112), (64, 64), 16)

    def own_number(x: Tensor, observed: Tensor | None) -> Tensor:
        return torch.arange(2.0).repeat(len(x) // 2)[:, None, None, None].expand_as(x)

    row = tiling.mapped(own_number, torch.zeros(1, 1, 64, 112), None)[0, 0, 30]
    assert (row[:48] == 0).all()
    assert (row[64:] == 1).all()
    assert row.diff().min() >= 0
    assert row.diff().max() < 0.2


def test_a_network_sees_so_many_pixels_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "PIXELS_AT_ONCE", 3 * 32 * 32)
    seen: list[int] = []

    def counted(x: Tensor, observed: Tensor | None) -> Tensor:
        seen.append(len(x))
        return x

    frames = torch.rand(4, 1, 100, 100)
    torch.testing.assert_close(Tiling((100, 100), (32, 32), 8).mapped(counted, frames, None), frames)
    assert max(seen) == 3


def test_codes_of_tiles_join_to_the_frames_that_they_were_cut_from() -> None:
    tiling, x = Tiling((70, 64), (64, 64), 16), torch.rand(3, 2, 70, 64)
    torch.testing.assert_close(tiling.joined(tiling.cut(x, tiling.corners), 3), x)

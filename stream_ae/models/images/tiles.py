"""Frames of any size through networks that see a patch: overlapping tiles, blended without a seam."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

LARGEST_WHOLE = 64
"""Frames up to this side are one patch; larger ones are cut into tiles of it."""

OVERLAP = 16
PIXELS_AT_ONCE = 1 << 18
"""How many pixels are inside a network at the same time: memory does not grow with the batch or the frame."""

Answer = Callable[[Tensor, Tensor | None], Tensor]
"""Patches (n, C, h, w) and where they were observed to patches of the same shape."""


def patch_of(height: int, width: int) -> tuple[int, int]:
    """The patch for frames of this size.

    >>> patch_of(28, 28), patch_of(48, 200)
    ((28, 28), (48, 64))
    """
    return min(height, LARGEST_WHOLE), min(width, LARGEST_WHOLE)


@dataclass(frozen=True, slots=True)
class Tiling:
    """Frames of H x W in tiles of h x w, neighbours sharing at least `overlap` pixels."""

    frame: tuple[int, int]
    patch: tuple[int, int]
    overlap: int

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Top left pixel of each tile, row by row."""
        rows, columns = (_begins(side, part, self.overlap) for side, part in zip(self.frame, self.patch, strict=True))
        return list(product(rows, columns))

    @property
    def whole(self) -> bool:
        """Whether a frame is one tile."""
        return self.frame == self.patch

    def cut(self, frames: Tensor, corners: list[tuple[int, int]]) -> Tensor:
        """(B * tiles, C, h, w) tiles of frames (B, C, H, W): all of the first frame, then of the next."""
        if self.whole:
            return frames
        height, width = self.patch
        tiles = [frames[..., top : top + height, left : left + width] for top, left in corners]
        return torch.stack(tiles, 1).flatten(0, 1)

    def joined(self, tiles: Tensor, count: int) -> Tensor:
        """(count, C, H, W) frames of all their tiles, as `cut` gives them."""
        if self.whole:
            return tiles
        frames = tiles.new_zeros((count, tiles.shape[1], *self.frame))
        self._add(frames, tiles.reshape(count, -1, *tiles.shape[1:]), self.corners)
        return frames / self._weights(tiles)

    def mapped(self, answer: Answer, frames: Tensor, observed: Tensor | None) -> Tensor:
        """(B, C, H, W) what `answer` says of the tiles, blended; few enough pixels at a time.

        The answer for a frame does not depend on the others, up to float rounding.
        """
        corners = self.corners
        size = self.patch[0] * self.patch[1]
        tiles_at_once = max(PIXELS_AT_ONCE // size, 1)
        frames_at_once = max(tiles_at_once // len(corners), 1)
        found = torch.empty_like(frames)
        weights = None if self.whole else self._weights(frames)
        for rows in _slices(len(frames), frames_at_once):
            seen = observed[rows] if observed is not None else None
            if weights is None:
                found[rows] = answer(frames[rows], seen)
                continue
            total = torch.zeros_like(frames[rows])
            for part in _slices(len(corners), tiles_at_once):
                some = corners[part]
                tiles = answer(self.cut(frames[rows], some), self.cut(seen, some) if seen is not None else None)
                self._add(total, tiles.reshape(len(total), -1, *tiles.shape[1:]), some)
            found[rows] = total / weights
        return found

    def _add(self, frames: Tensor, tiles: Tensor, corners: list[tuple[int, int]]) -> None:
        window, (height, width) = self._window(tiles), self.patch
        for number, (top, left) in enumerate(corners):
            frames[..., top : top + height, left : left + width] += tiles[:, number] * window

    def _window(self, like: Tensor) -> Tensor:
        """(h, w) a raised cosine: what the tile's middle says counts most, its edge almost nothing."""
        rows, columns = (0.5 - 0.5 * torch.cos(2 * torch.pi * (torch.arange(side) + 0.5) / side) for side in self.patch)
        return torch.outer(rows, columns).to(like)

    def _weights(self, like: Tensor) -> Tensor:
        """(H, W) sum of the windows of all tiles, positive everywhere."""
        total = torch.zeros((1, *self.frame), device=like.device)
        self._add(total, torch.ones((1, len(self.corners), *self.patch), device=like.device), self.corners)
        return total[0]


def _begins(side: int, part: int, overlap: int) -> list[int]:
    """Where the tiles of an axis begin, spread evenly.

    >>> _begins(100, 64, 16), _begins(64, 64, 16)
    ([0, 36], [0])
    """
    if part >= side:
        return [0]
    steps = -(-(side - part) // (part - overlap))
    return [round(step * (side - part) / steps) for step in range(steps + 1)]


def _slices(count: int, size: int) -> Iterator[slice]:
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))

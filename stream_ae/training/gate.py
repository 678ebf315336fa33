"""The decision between a challenger and the champion, both measured on the same held-out rows."""

import math
from dataclasses import dataclass

from stream_ae.training.evaluate import Evaluation


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the challenger is promoted, and the sentence that says why or why not."""

    promote: bool
    reason: str


def verdict(challenger: Evaluation, champion: Evaluation | None, tolerance: float) -> Verdict:
    """Promote the first version, and every one whose loss is at most `tolerance` (a share) above the champion's."""
    if not math.isfinite(challenger.loss):
        return Verdict(False, "the challenger's loss on held-out rows is not a number")
    if champion is None:
        return Verdict(True, f"the first version (loss {challenger.loss:.4g})")
    limit = champion.loss * (1.0 + tolerance)
    compared = f"loss {challenger.loss:.4g} against the champion's {champion.loss:.4g} (limit {limit:.4g})"
    # A champion whose loss is not a number answers nothing: anything finite is better.
    if challenger.loss <= limit or not math.isfinite(champion.loss):
        return Verdict(True, f"no worse: {compared}")
    return Verdict(False, f"worse: {compared}")

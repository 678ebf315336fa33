"""The decision between a challenger and the champion: both on the same held-out data, criterion by criterion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_ae.flow.feedback import Label
from stream_ae.training.evaluate import Evaluation

# Normal data may be flagged so many times as often as was asked for: few held-out rows say it no better.
FALSE_ALARMS_OF_ASKED = 3.0
# So many among few rows are no rate.
FLAGS_THAT_SAY_NOTHING = 3.0
# Of injected faults a challenger may find less by this, beside the tolerance: a share of a few hundred is that rough.
RECALL_MARGIN = 0.02
# Time of a batch against the champion's. On a busy virtual machine the same model has taken twice its own time.
SLOWER_THAN_CHAMPION = 3.0


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that was compared. `limit` is the worst that passes; `champion` is None for a first version."""

    name: str
    challenger: float
    champion: float | None
    limit: float
    passed: bool

    def __str__(self) -> str:
        against = "" if self.champion is None else f" against the champion's {self.champion:.4g}"
        bound = "" if math.isinf(self.limit) else f" (limit {self.limit:.4g})"
        return f"{self.name} {self.challenger:.4g}{against}{bound}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the challenger is promoted, and the sentence that says why or why not."""

    promote: bool
    reason: str
    criteria: tuple[Criterion, ...] = field(default=())

    def metrics(self) -> dict[str, float]:
        """Every criterion's value, the champion's, the limit, and 1 where it was passed."""
        found: dict[str, float] = {}
        for one in self.criteria:
            named = {"": one.challenger, "_champion": one.champion, "_limit": one.limit, "_passed": float(one.passed)}
            name = one.name.replace(" ", "_")
            found |= {f"gate_{name}{part}": v for part, v in named.items() if v is not None and math.isfinite(v)}
        return found

    def tags(self) -> dict[str, str]:
        """Every criterion in words, by the name of its tag."""
        return {
            f"stream_ae.gate.{one.name.replace(' ', '_')}": f"{'passed' if one.passed else 'failed'}: {one}"
            for one in self.criteria
        }


def verdict(challenger: Evaluation, champion: Evaluation | None, tolerance: float, false_alarm_rate: float) -> Verdict:
    """Promote if nothing is worse than the champion beyond `tolerance` (a share), and normal data is not flagged much
    more often than asked."""
    criteria = (
        _at_most("loss", challenger.loss, champion.loss if champion else None, 1.0 + tolerance),
        _false_alarms(challenger, champion, tolerance, false_alarm_rate),
        *_found(challenger, champion, tolerance),
        *_labelled(challenger, champion, tolerance, false_alarm_rate),
        _at_most("batch ms", challenger.batch_ms, champion.batch_ms if champion else None, SLOWER_THAN_CHAMPION),
    )
    if not math.isfinite(challenger.loss):
        return Verdict(False, "the challenger's loss on held-out data is not a number", criteria)
    failed = [str(one) for one in criteria if not one.passed]
    if failed:
        return Verdict(False, f"worse: {'; '.join(failed)}", criteria)
    compared = "; ".join(map(str, criteria))
    return Verdict(True, f"{'no worse' if champion else 'the first version'}: {compared}", criteria)


def _at_most(name: str, challenger: float, champion: float | None, factor: float) -> Criterion:
    # A champion whose figure is not a number answers nothing: anything finite is better.
    limit = champion * factor if champion is not None and math.isfinite(champion) else math.inf
    return Criterion(name, challenger, champion, limit, challenger <= limit)


def _false_alarms(challenger: Evaluation, champion: Evaluation | None, tolerance: float, asked: float) -> Criterion:
    before = champion.flagged_share if champion else None
    limit = max(FALSE_ALARMS_OF_ASKED * asked, (before or 0.0) * (1.0 + tolerance))
    limit = max(limit, FLAGS_THAT_SAY_NOTHING / max(challenger.windows, 1))
    return Criterion("false alarms", challenger.flagged_share, before, limit, challenger.flagged_share <= limit)


def _found(challenger: Evaluation, champion: Evaluation | None, tolerance: float) -> Sequence[Criterion]:
    """The mean share of injected faults found, over that of normal windows flagged: what flags everything finds it,
    too."""
    if not challenger.found:
        return []
    own = _skill(challenger)
    if champion is None or not champion.found:
        return [Criterion("faults found", own, None, 0.0, True)]
    before = _skill(champion)
    limit = max(before * (1.0 - tolerance) - RECALL_MARGIN, 0.0)
    return [Criterion("faults found", own, before, limit, own >= limit)]


def _skill(found: Evaluation) -> float:
    """Youden's J (1950, Index for rating diagnostic tests): true positive rate less false positive rate."""
    return sum(found.found.values()) / len(found.found) - found.flagged_share


def _labelled(
    challenger: Evaluation, champion: Evaluation | None, tolerance: float, asked: float
) -> Sequence[Criterion]:
    """On records that operators gave a label: anomalies are found as before, normal ones not flagged more often."""
    before = champion.labelled if champion is not None else {}
    criteria = []
    if Label.ANOMALY in challenger.labelled:
        own, other = challenger.labelled[Label.ANOMALY], before.get(Label.ANOMALY)
        limit = max((other or 0.0) * (1.0 - tolerance) - RECALL_MARGIN, 0.0)
        criteria.append(Criterion("labelled anomalies found", own, other, limit, own >= limit))
    if Label.NORMAL in challenger.labelled:
        own, other = challenger.labelled[Label.NORMAL], before.get(Label.NORMAL)
        # Without a champion there is nothing that it could be worse than.
        limit = max(other * (1.0 + tolerance), FALSE_ALARMS_OF_ASKED * asked) if other is not None else math.inf
        criteria.append(Criterion("labelled normal flagged", own, other, limit, own <= limit))
    return criteria

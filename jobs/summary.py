"""What a person wants to know of a retraining when it has ended."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.training_data import Plan
from stream_ae.training.collect import Collected
from stream_ae.training.gate import Criterion, Verdict


@dataclass(slots=True)
class Summary:
    """Facts by name, in the order in which they came up, and how the gate judged."""

    facts: dict[str, str] = field(default_factory=dict)
    criteria: tuple[Criterion, ...] = ()

    def data(self, plan: Plan, collected: Collected) -> None:
        """What was trained on."""
        counts = collected.counts
        self.facts["span"] = f"{plan.span.offsets} of {plan.settings.topics.raw}"
        self.facts["records"] = f"{counts.records} ({counts.rejected} not readable)"
        self.facts["samples"] = f"{collected.kept} of {counts.samples}, {len(set(collected.streams))} streams"
        self.facts["left out"] = (
            f"{counts.flagged} flagged, {counts.excluded} excluded by operators, {counts.duplicates} duplicates, "
            f"{counts.backwards} older than one before"
        )
        if plan.labels.given:
            self.facts["labels"] = f"{plan.labels.given} given, {counts.taken_in} flagged samples taken in by them"

    def judged(self, verdict: Verdict) -> None:
        self.facts["verdict"] = verdict.reason.partition(":")[0]
        self.criteria = verdict.criteria

    def rows(self) -> Iterator[tuple[str, str]]:
        """Name and text, criteria last."""
        yield from self.facts.items()
        for one in self.criteria:
            yield one.name, f"{'passed' if one.passed else 'failed'}  {str(one).removeprefix(one.name).strip()}"


def collected_sentence(collected: Collected) -> str:
    """What came together, and what did not and why."""
    counts = collected.counts
    left_out = [
        f"{counts.rejected} not readable",
        f"{counts.flagged} samples flagged and left out",
        *([f"{counts.excluded} excluded by operators"] if counts.excluded else []),
        *([f"{counts.taken_in} flagged but called normal"] if counts.taken_in else []),
        *([f"{counts.duplicates} duplicates"] if counts.duplicates else []),
        *([f"{counts.backwards} older than one before"] if counts.backwards else []),
    ]
    return (
        f"collected {collected.kept} samples of {len(set(collected.streams))} streams from {counts.records} records "
        f"({', '.join(left_out)})"
    )

"""What a version was trained on and how, as text: enough to train it again and get the same weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from jobs.one_shot import TAG
from stream_ae.errors import ConfigError
from stream_ae.flow.timestamps import iso_utc
from stream_ae.models.version import AnyDetector
from stream_ae.ports import OffsetRange
from stream_ae.records import ModelVersion
from stream_ae.settings import Settings
from stream_ae.training.collect import Collected, SampleLayout
from stream_ae.training.labels import FLAGGED, Labels, Selection
from stream_ae.training.marks import Marks, Stroke, offset_ranges
from stream_ae.training.span import Span

OFFSETS: Final = f"{TAG}offsets"
SETTINGS: Final = f"{TAG}settings"
RECORDS: Final = f"{TAG}records"
PARENT: Final = f"{TAG}parent_version"
NO_PARENT: Final = "none"
LEFT_OUT: Final = f"{TAG}left_out"
STILL: Final = f"{TAG}still"
CODE: Final = f"{TAG}code_version"
LIKE: Final = f"{TAG}like"
COMMIT: Final = f"{TAG}commit"
# Of the settings of `retrain`, those that say what is trained on.
DATA = {"keep", "max_samples", "holdout_share", "check_data"}


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A registered version and what is in its folder."""

    version: ModelVersion
    detector: AnyDetector

    @property
    def layout(self) -> SampleLayout:
        return SampleLayout(self.detector.channels, self.detector.frame)


def lineage_of(settings: Settings, span: Span, collected: Collected, champion: LoadedVersion | None) -> dict[str, str]:
    """The tags of the version, and what `left_out` of them says, which is for its configuration alone."""
    counts = {f"{TAG}{name}": str(count) for name, count in asdict(collected.counts).items()}
    return {
        f"{TAG}topic": settings.topics.raw,
        f"{TAG}partitions": ",".join(str(r.partition.number) for r in span.ranges),
        OFFSETS: span.offsets,
        f"{TAG}times": _interval(collected.times_ms),
        **counts,
        f"{TAG}kept": str(collected.kept),
        PARENT: champion.version.version if champion is not None else NO_PARENT,
        f"{TAG}seed": str(settings.training.seed),
        SETTINGS: json.dumps(_settings(settings)),
        LEFT_OUT: collected.left_out,
    }


def tags_of(lineage: Mapping[str, str]) -> dict[str, str]:
    """What stands beside a version in a list of them; all of it is in its configuration, and in the run's dataset."""
    return {name: lineage[name] for name in (f"{TAG}topic", OFFSETS, PARENT) if name in lineage}


def still_text(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, str]:
    """How long channels stood still, in the data of the version before and in this, see `training.strange`."""
    return {STILL: json.dumps({"before": dict(before), "now": dict(now)})}


def still_of(lineage: Mapping[str, str]) -> Mapping[str, int]:
    """How long channels stood still in the data of a version; empty where it does not say so."""
    return _still(lineage, "now")


def still_before(lineage: Mapping[str, str]) -> Mapping[str, int]:
    """How long they did in the data of the one before it."""
    return _still(lineage, "before")


def _still(lineage: Mapping[str, str], which: str) -> Mapping[str, int]:
    try:
        return {str(name): int(length) for name, length in json.loads(lineage.get(STILL, "{}"))[which].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        # It was a hint alone, and one of another release may be written otherwise.
        return {}


def settings_of(lineage: Mapping[str, str], settings: Settings, version: str) -> Settings:
    """`settings` with everything that a training depends on as it was. Raises ConfigError where it does not say so."""
    if not {OFFSETS, SETTINGS, RECORDS, LEFT_OUT} <= set(lineage):
        raise ConfigError(
            f"version {version} does not say on which records and with which settings it was trained: it comes from "
            "files, or from an older release; give its offsets with --offsets instead"
        )
    try:
        was = json.loads(lineage[SETTINGS])
        retrain = {**settings.retrain.model_dump(), **was.pop("retrain")}
        topics = {**settings.topics.model_dump(), "raw": lineage[f"{TAG}topic"]}
        return Settings.model_validate({**settings.model_dump(), **was, "retrain": retrain, "topics": topics})
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ConfigError(f"the settings of version {version} are none of this release: {error}") from error


def selection_of_then(lineage: Mapping[str, str], labels: Labels) -> Selection:
    """Leaves out what was left out then; the labels of today count in the gate alone."""
    ranges: list[OffsetRange] = offset_ranges(lineage[f"{TAG}topic"], lineage[LEFT_OUT])
    return Selection(Marks.painted(Stroke(one, FLAGGED) for one in ranges), labels, settled=True)


def check_complete(lineage: Mapping[str, str], collected: Collected, version: str) -> None:
    """Raises ConfigError if there are not as many records at the offsets as there were."""
    if collected.counts.records != int(lineage[RECORDS]):
        raise ConfigError(
            f"version {version} was trained on {lineage[RECORDS]} records at offsets {lineage[OFFSETS]}, of which "
            f"{collected.counts.records} are still there: compaction or a topic that was created anew"
        )


def _settings(settings: Settings) -> dict[str, Any]:
    found = {
        "training": settings.training.model_dump(mode="json"),
        "decode": settings.decode.model_dump(mode="json"),
        "retrain": settings.retrain.model_dump(mode="json", include=DATA),
    }
    return found | ({"images": settings.images.model_dump(mode="json")} if settings.decode.records == "images" else {})


def _interval(times_ms: tuple[int, int]) -> str:
    """`2023-11-14T22:13:20.000Z/2023-11-14T22:23:19.000Z`, as ISO 8601 has it; empty without times."""
    return "/".join(iso_utc(np.array(times_ms, np.int64))) if times_ms[0] >= 0 else ""

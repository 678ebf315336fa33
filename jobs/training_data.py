"""Which records a retraining is trained on: the newest, those since the last time, some offsets, a version's again."""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.code_commit import code_commit
from jobs.lineage import (
    CODE,
    COMMIT,
    LIKE,
    NO_PARENT,
    OFFSETS,
    PARENT,
    LoadedVersion,
    check_complete,
    lineage_of,
    selection_of_then,
    settings_of,
    still_before,
    still_of,
    still_text,
    tags_of,
)
from jobs.one_shot import RUN_KEY, TAG, software
from jobs.unfinished import Unfinished
from stream_ae.digest import fingerprint
from stream_ae.errors import ConfigError
from stream_ae.ports import RecordReader
from stream_ae.settings import Settings
from stream_ae.training.collect import Collected, SampleLayout
from stream_ae.training.labels import Labels, Selection, read_labels, selection_of
from stream_ae.training.marks import offset_ranges
from stream_ae.training.span import Counted, Span, collect, newest_span, run_key, span_at, span_since
from stream_ae.training.strange import Sound, sound


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for beside the settings.

    offsets:  train on exactly these, `0:17-900,1:0-450`.
    like:     train this version again, from what it says of itself.
    """

    offsets: str | None = None
    like: str | None = None

    def check(self, settings: Settings) -> None:
        """Raises ConfigError if it cannot be meant so."""
        if "" in (self.offsets, self.like):
            raise ConfigError("--offsets and --like want a value, and it is empty: is a shell variable not set?")
        if self.offsets and self.like:
            raise ConfigError("--offsets and --like both say what to train on: give one of them")
        if self.offsets:
            offset_ranges(settings.topics.raw, self.offsets)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is trained on, what the version will say of it, and what a person should know."""

    collected: Collected
    lineage: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained on, and how.

    key:    of everything that it depends on: the same key is not trained or registered twice.
    again:  the version that is trained again.
    """

    settings: Settings
    span: Span
    labels: Labels
    champion: LoadedVersion | None
    again: LoadedVersion | None
    key: str

    @property
    def layout(self) -> SampleLayout | None:
        """None: as the records have it."""
        like = self.again or self.champion
        return like.layout if like is not None else None

    @property
    def may_be_contaminated(self) -> bool:
        """Nobody has flagged anything yet: there was no version before."""
        then = self.again.detector.lineage.get(PARENT) == NO_PARENT if self.again is not None else self.champion is None
        return self.settings.retrain.check_data and then

    def tags(self, lineage: Mapping[str, str]) -> dict[str, str]:
        """What is said of the version: the readable part of its lineage, and what made it."""
        commit = code_commit()
        told = {RUN_KEY: self.key, CODE: software()} | ({COMMIT: commit} if commit else {})
        return tags_of(lineage) | told | ({LIKE: self.again.version.version} if self.again is not None else {})

    def gathered(self, reader: RecordReader, progress: Counted) -> Gathered:
        """The records, and the lineage of what is trained on them. Raises ConfigError if they cannot be used."""
        collected = collect(reader, self.settings, self.span, self.layout, self._selection(reader), progress)
        if self.again is None:
            champion = self.champion.detector.lineage if self.champion is not None else {}
            before = still_of(champion)
            found = self._sound(collected, before)
            lineage = lineage_of(self.settings, self.span, collected, self.champion)
            return Gathered(found.collected, lineage | still_text(before, found.still), found.warnings)
        lineage = dict(self.again.detector.lineage)
        check_complete(lineage, collected, self.again.version.version)
        found = self._sound(collected, still_before(lineage))
        return Gathered(found.collected, lineage, found.warnings)

    def _sound(self, collected: Collected, before: Mapping[str, int]) -> Sound:
        if not self.settings.retrain.check_data:
            return Sound(collected)
        return sound(collected, self.settings.training.window, before)

    def _selection(self, reader: RecordReader) -> Selection:
        if self.again is not None:
            return selection_of_then(self.again.detector.lineage, self.labels)
        return selection_of(reader, self.settings, self.span.start_ms, self.labels)


def planned(
    reader: RecordReader,
    settings: Settings,
    asked: Asked,
    versions: tuple[LoadedVersion | None, LoadedVersion | None],
    unfinished: Unfinished,
    now_ms: int,
) -> Plan:
    """versions: the champion, and the one to train again; unfinished: one that goes on with the span it began with.

    Raises ConfigError if the records are not there.
    """
    champion, again = versions
    if again is not None:
        settings = settings_of(again.detector.lineage, settings, again.version.version)
        span = span_at(reader, settings.topics.raw, again.detector.lineage[OFFSETS], now_ms)
    elif asked.offsets:
        span = span_at(reader, settings.topics.raw, asked.offsets, now_ms)
    else:
        span = unfinished.span(_newest(reader, settings, champion, now_ms), reader)
    labels = read_labels(reader, settings)
    key = run_key(span, settings, software(), labels.key(span.ranges))
    return Plan(settings, span, labels, champion, again, fingerprint([key, "again"]) if again is not None else key)


def _newest(reader: RecordReader, settings: Settings, champion: LoadedVersion | None, now_ms: int) -> Span:
    newest = newest_span(reader, settings, now_ms)
    if settings.retrain.since == "span" or champion is None:
        return newest
    tags = champion.version.tags
    if tags.get(f"{TAG}topic") != settings.topics.raw or not tags.get(OFFSETS):
        return newest
    return span_since(newest, tags[OFFSETS])

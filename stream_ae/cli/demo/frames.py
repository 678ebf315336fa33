"""The image demo: a camera's noisy frames learnt from, cleaned, and the defects among them flagged, on real servers."""

import base64
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import orjson
from rich.console import Console

from stream_ae.cli.audit import Audited, run_audit
from stream_ae.cli.demo.screen import Screen
from stream_ae.cli.demo.world import World, pipeline_of_its_own, temporary_world
from stream_ae.clock import Clock
from stream_ae.configuration import load
from stream_ae.flow.headers import FLAG, SCORE, header_text, source_of
from stream_ae.flow.images.codec import decode_frame, encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind, FrameLimits
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev.contact_sheet import Shown, contact_sheet
from stream_ae.localdev.report import Line, table
from stream_ae.localdev.sample_frames import Scene, auroc, psnr_db, scene
from stream_ae.ports import RecordReader
from stream_ae.records import Bool, Float32, Float64, OutgoingBatch
from stream_ae.settings import Settings

TRAIN_FRAMES, TEST_FRAMES = 700, 500
PARTITIONS = 2
WORKERS = 2
STEP_TIMEOUT_S = 900.0
SHOWN = 8
OPTIONS = {
    **pipeline_of_its_own("demo-images", "frames"),
    "STREAM_AE_DECODE__RECORDS": "images",
    "STREAM_AE_TRAINING__DENOISER_STEPS": "500",
    "STREAM_AE_TRAINING__FALSE_ALARM_RATE": "0.01",
}
BROKEN = (b"not an image", b"\x89PNG\r\n\x1a\n", b"")


@dataclass(frozen=True, slots=True)
class FrameNumbers:
    """The demo's result; the field names are the keys of `--report FILE`.

    psnr_in_db, psnr_out_db:  frames without a defect against the truth.
    auroc:                    of the score, defect against none.
    defects_found:            frames with a defect that were flagged; located: whose worst region touches the defect.
    """

    frames: int
    cleaned: int
    dead_letters: int
    lost: int
    doubled: int
    defects: int
    defects_found: int
    defects_located: int
    false_alarms: int
    psnr_in_db: float
    psnr_out_db: float
    auroc: float
    total_s: float


class _Event(msgspec.Struct):
    source: dict[str, int | str]
    regions: list[dict[str, float]]
    error_map: str
    state: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the topics say of the test frames, in their order: (N, 3, H, W), (N,), (N,), and of flagged ones more."""

    cleaned: Float32
    score: Float64
    flag: Bool
    events: dict[int, _Event]


def run(report: Path | None, out: Path, clock: Clock, console: Console) -> bool:
    """Tell the story and report it; whether nothing was lost or doubled."""
    began_s = clock.monotonic_s()
    screen = Screen(console, clock)
    frames = scene(TRAIN_FRAMES, TEST_FRAMES)
    with temporary_world(clock) as (stack, build):
        with screen.step("starting Kafka, Valkey and MLflow") as step:
            stack.start()
            step.done = f"Kafka {stack.kafka.address}, {stack.valkey.address}, MLflow {stack.mlflow.address}"
        world = build()
        chosen = load(environment=world.environment | OPTIONS).settings
        audited = _tell(world, chosen, frames, screen)
        with screen.step("reading the topics and drawing") as step:
            test = frames.part(slice(TRAIN_FRAMES, None))
            reader = open_reader(chosen.kafka, clock)
            try:
                seen = _seen(reader, chosen, test)
            finally:
                reader.close()
            numbers = _numbers(test, seen, audited, clock.monotonic_s() - began_s)
            written = _write(report, out, numbers, test, seen)
            step.done = f"report: {', '.join(str(file) for file in written)}"
    console.print()
    console.print(table(_lines(numbers)))
    return numbers.lost == numbers.doubled == 0


def _tell(world: World, chosen: Settings, frames: Scene, screen: Screen) -> Audited:
    create_topics(chosen.kafka, [TopicSpec(name, PARTITIONS) for name in chosen.topics.names()])
    with screen.step(f"learning from {TRAIN_FRAMES:,} noisy frames") as step:
        _send(world, chosen, frames.given[:TRAIN_FRAMES], 0)
        retraining = world.spawn("retrain-images", ["retrain"], **OPTIONS)
        world.wait_until(retraining.check_done, "the training", STEP_TIMEOUT_S)
        step.done = f"version 1 trained from {TRAIN_FRAMES:,} noisy frames of the topic: no clean one, no label"
    with screen.step("cleaning and judging frames") as step:
        names = [f"worker-{number}" for number in range(1, WORKERS + 1)]
        workers = [world.spawn(name, ["worker"], **OPTIONS, STREAM_AE_WORKER__NAME=name) for name in names]
        _send(world, chosen, frames.given[TRAIN_FRAMES:], TRAIN_FRAMES, BROKEN)
        world.wait_until(lambda: not world.lag(chosen), "cleaning the frames", STEP_TIMEOUT_S, workers)
        for worker in workers:
            worker.stop()
        count = len(frames.given) - TRAIN_FRAMES
        step.done = f"{count:,} frames with noise, some with a defect, through {WORKERS} workers"
    with screen.step("audit: reading frames, cleaned and dead letters") as step:
        reader = open_reader(chosen.kafka, world.clock)
        try:
            audited = run_audit(reader, chosen, world.clock, wait_s=0.0)
        finally:
            reader.close()
        step.done = (
            f"audit: of {audited.report.raw:,} frames {audited.report.lost} lost, {audited.report.doubled} doubled"
        )
    return audited


def _send(world: World, chosen: Settings, frames: Float32, first: int, more: tuple[bytes, ...] = ()) -> None:
    """PNG files; the number of a frame travels as a header, as any header of the user's does."""
    form = FrameFormat(FrameKind.PNG, "uint8", *frames.shape[1:])
    values = [*(encode_frame(frame, form) for frame in frames), *more]
    numbers = np.arange(first, first + len(values))
    sent = OutgoingBatch(
        chosen.topics.raw, (numbers % PARTITIONS).astype(np.int32), np.full(len(values), world.clock.wall_ms()),
        [b"camera-%d" % (number % PARTITIONS) for number in numbers.tolist()], values,
        [(("frame", str(number).encode()),) for number in numbers.tolist()],
    )  # fmt: skip
    world.send(chosen, [sent])


def _seen(reader: RecordReader, chosen: Settings, test: Scene) -> _Seen:
    """Read cleaned and flagged whole."""
    count = len(test.given)
    cleaned, score = np.full(test.given.shape, np.nan, np.float32), np.full(count, np.nan)
    flag, number_of = np.zeros(count, np.bool_), dict[tuple[int, int], int]()
    for batch in reader.read(reader.ranges(chosen.topics.cleaned)):
        for value, headers in zip(batch.values, batch.headers, strict=True):
            number = int(header_text(headers, "frame") or "0") - TRAIN_FRAMES
            source = source_of(headers)
            if number >= 0 and source is not None:
                cleaned[number] = decode_frame(value or b"", headers, FrameLimits()).values
                score[number] = float(header_text(headers, SCORE) or "nan")
                flag[number] = header_text(headers, FLAG) == "1"
                number_of[source.partition, source.offset] = number
    events = {}
    for event in _events(reader, chosen):
        found = number_of.get((int(event.source["partition"]), int(event.source["offset"])))
        if found is not None and event.state != "close":
            events[found] = event
    return _Seen(cleaned, score, flag, events)


def _events(reader: RecordReader, chosen: Settings) -> Iterator[_Event]:
    decoder = msgspec.json.Decoder(_Event)
    for batch in reader.read(reader.ranges(chosen.topics.flagged)):
        yield from (decoder.decode(value or b"") for value in batch.values)


def _numbers(test: Scene, seen: _Seen, audited: Audited, total_s: float) -> FrameNumbers:
    spoilt, report = test.spoilt, audited.report
    located = sum(_touches(seen.events[row], test.defect[row]) for row in np.flatnonzero(spoilt & seen.flag).tolist())
    return FrameNumbers(
        frames=report.raw + audited.pending,
        cleaned=report.cleaned,
        dead_letters=report.dead_letters,
        lost=report.lost,
        doubled=report.doubled,
        defects=int(spoilt.sum()),
        defects_found=int((spoilt & seen.flag).sum()),
        defects_located=located,
        false_alarms=int((seen.flag & ~spoilt).sum()),
        psnr_in_db=round(psnr_db(test.truth[~spoilt], test.given[~spoilt]), 1),
        psnr_out_db=round(psnr_db(test.truth[~spoilt], seen.cleaned[~spoilt]), 1),
        auroc=round(auroc(spoilt, seen.score), 3),
        total_s=round(total_s, 1),
    )


def _touches(event: _Event, defect: Bool) -> bool:
    """Whether the worst region covers some of the defect."""
    if not event.regions:
        return False
    x, y, width, height = (int(event.regions[0][side]) for side in ("x", "y", "width", "height"))
    return bool(defect[y : y + height, x : x + width].any())


def _write(report: Path | None, out: Path, numbers: FrameNumbers, test: Scene, seen: _Seen) -> list[Path]:
    flagged = [row for row in np.flatnonzero(test.spoilt).tolist() if row in seen.events][: SHOWN - 2]
    quiet = np.flatnonzero(~test.spoilt & ~seen.flag).tolist()[: SHOWN - len(flagged)]
    shown = [
        Shown(test.given[row], seen.cleaned[row], _map(seen.events.get(row)), test.truth[row], test.defect[row],
              float(seen.score[row]), bool(seen.flag[row]))
        for row in [*flagged, *quiet]
    ]  # fmt: skip
    files = {out / "frames.png": contact_sheet(shown)}
    if report is not None:
        files[report] = orjson.dumps(asdict(numbers), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    out.mkdir(exist_ok=True)
    for file, content in files.items():
        file.write_bytes(content)
    return list(files)


def _map(event: _Event | None) -> Float32 | None:
    """The error map of a flagged record, 0 to 1."""
    if event is None:
        return None
    picture = base64.b64decode(event.error_map.partition(",")[2])
    errors: Float32 = decode_frame(picture, (), FrameLimits()).values[0] / np.float32(255.0)
    return errors


def _lines(numbers: FrameNumbers) -> list[Line]:
    n = numbers
    return [
        Line("frames in", f"{n.frames:,}", "PNG files in the raw topic"),
        Line("cleaned", f"{n.cleaned:,}", "in the cleaned topic: the frame again, denoised"),
        Line("dead letters", f"{n.dead_letters:,}", "records that are no frame, with the reason"),
        Line("lost", f"{n.lost:,}", "frames without a trace in cleaned or dead letters"),
        Line("doubled", f"{n.doubled:,}", "frames with more than one trace"),
        Line(
            "denoising", f"{n.psnr_in_db:.1f} → {n.psnr_out_db:.1f} dB", "peak signal-to-noise ratio against the truth"
        ),
        Line("defects found", f"{n.defects_found} of {n.defects}", "scratches, blots and holes that were flagged"),
        Line("located", f"{n.defects_located} of {n.defects_found}", "whose worst region lies on the defect"),
        Line("false alarms", f"{n.false_alarms:,}", "flagged frames without a defect"),
        Line("AUROC", f"{n.auroc:.3f}", "of the score, frames with a defect against those without"),
        Line("total", f"{n.total_s:.0f} s", "the whole demo"),
    ]

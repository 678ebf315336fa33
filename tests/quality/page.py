"""docs/QUALITY.md: tables of what was measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.page import write_section
from tests.quality import ecg, speed
from tests.quality.sensors import ADAPTED, OURS, PEERS, Row

PAGE = Path(__file__).parents[2] / "docs" / "QUALITY.md"
COMMAND = "make quality"
GROUPS = ("ASD", "SMD", "SKAB valve2", "SKAB other")


def write_sensors(rows: Sequence[Row]) -> None:
    write_section(PAGE, "sensors", COMMAND, [*_detection(rows), *_thresholds(rows), *_explanation(rows)])


def write_ecg(found: Sequence[ecg.Row], unseen: Sequence[ecg.Unseen]) -> None:
    worst = max(unseen, key=lambda one: one.snr_in - one.chosen_anew)
    lines = [
        "An electrocardiogram (record 100 of the MIT-BIH Arrhythmia Database, band-limited to 0.5-40 Hz) with noise "
        "added: signal-to-noise ratio in dB, means over both leads. The model is one U-Net that is told nothing of the "
        f"noise (`{ecg.OPTIONS}`), trained on the first 14 minutes and judged on 30 seconds later on; filters are "
        "tuned noise by noise on the very part that they are judged on. *spread*: largest less smallest of the seeds.",
        "",
        *ecg.table(list(found)).splitlines(),
        "",
        "The same model on people whom it has not seen (made of the one that it has), as it is, and after "
        "`choose_denoiser` on the noisy rows themselves, without labels:",
        "",
        "| person | noise | in | as it is | after choosing | served by |",
        "|---|---|---|---|---|---|",
    ]
    for one in unseen:
        figures = f"{one.snr_in:.1f} | {one.as_it_is:.1f} | {one.chosen_anew:.1f}"
        lines.append(f"| {one.person} | {one.noise} | {figures} | {one.by} |")
    lines += [
        "",
        f"At worst what was chosen is {worst.snr_in - worst.chosen_anew:.1f} dB below its input ({worst.person}).",
    ]
    write_section(PAGE, "ecg", COMMAND, lines)


def write_speed(found: Sequence[speed.Speed]) -> None:
    said = "; ".join(f"{one.rows_per_s / 1000:.0f}k rows/s at {one.batch} windows a batch" for one in found)
    text = f"The default model with {speed.CHANNELS} channels, windows in and answers out, one core, CPU time: {said}."
    write_section(PAGE, "speed", COMMAND, [text])


def _detection(rows: Sequence[Row]) -> list[str]:
    seeds = len({row.seed for row in rows})
    lines = [
        f"VUS-PR, mean over the series of a set; `±` is the standard deviation over {seeds} seeds. *macro*: mean of "
        "ASD, SMD and SKAB, all runs of SKAB together.",
        "",
        "| method | ASD | SMD | SKAB valve2 | SKAB other | SKAB | macro | AUC-PR, macro | best range-F1, macro |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in (OURS, *PEERS):
        own = [row for row in rows if row.method == method]
        cells = [_spread([_mean(part, "vus_pr") for part in _by_seed(_of(own, group))]) for group in GROUPS]
        cells.append(_spread([_mean(part, "vus_pr") for part in _by_seed(_of(own, "SKAB"))]))
        cells += [_spread([_macro(part, name) for part in _by_seed(own)]) for name in ("vus_pr", "auc_pr", "range_f1")]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return [*lines, ""]


def _thresholds(rows: Sequence[Row]) -> list[str]:
    lines = [
        "At thresholds chosen without labels for 0.5 % false alarms (ours: calibrated on the newest fifth of the "
        "training rows; peers: the quantile of their scores of the training rows). *worst*: share of normal "
        "rows flagged on the worst machine and seed; *recall*: anomalous ranges with a flag in them; *false events*: "
        "flagged stretches outside of any range, per 10,000 normal rows.",
        "",
        "| method | ASD: worst | mean | recall | false events | SMD: worst | mean | recall | false events |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in (OURS, ADAPTED, *PEERS):
        cells: list[str] = []
        for group in ("ASD", "SMD"):
            own = [row for row in rows if row.method == method and row.group == group]
            rates = [row.false_alarm_rate for row in own]
            recall = sum(row.hit for row in own) / max(sum(row.events for row in own), 1)
            cells += [
                f"{max(rates):.2%}",
                f"{np.mean(rates):.2%}",
                f"{recall:.2f}",
                f"{_mean(own, 'false_events'):.1f}",
            ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return [*lines, ""]


def _explanation(rows: Sequence[Row]) -> list[str]:
    own = [row for row in rows if row.method == OURS]
    blamed = sum(row.blamed for row in own)
    slowest = max((row.fit_s for row in own), default=0.0)
    return [
        f"Of ASD's anomalous ranges the channel with the largest share is guilty in "
        f"{sum(row.hit_1 for row in own) / max(blamed, 1):.0%}, one of the three largest in "
        f"{sum(row.hit_3 for row in own) / max(blamed, 1):.0%} ({blamed} ranges and seeds). The longest training "
        f"(SMD, 24k rows x 38 channels) took {slowest:.0f} s.",
    ]


def _of(rows: Sequence[Row], group: str) -> list[Row]:
    return [row for row in rows if row.group.startswith(group)]


def _by_seed(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row.seed == seed] for seed in sorted({row.seed for row in rows})]


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _macro(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([_mean(_of(rows, group), name) for group in ("ASD", "SMD", "SKAB")]))


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"

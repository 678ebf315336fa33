"""The section of docs/QUALITY.md about codes: what is made up from them, what they hold, how small they are."""

import math
from collections.abc import Sequence

from tests.page import write_section
from tests.quality.compression import Compressed
from tests.quality.generative import (
    LEARNT,
    SAMPLES,
    Between,
    Read,
    Sampled,
    Study,
    between_rows,
    compression_rows,
    read_rows,
    sampled_rows,
)
from tests.quality.page import COMMAND, PAGE


def write_generative(study: Study) -> None:
    lines = [
        *_sampled(list(sampled_rows(study))),
        *_between(list(between_rows(study))),
        *_read(list(read_rows(study))),
        *_compressed(list(compression_rows(study))),
    ]
    write_section(PAGE, "generative", COMMAND, lines)


def _sampled(rows: Sequence[Sampled]) -> list[str]:
    lines = [
        f"Made-up digits: Fréchet distance of {SAMPLES} images to as many held-out real ones, on the features of a "
        f"small classifier trained on the {LEARNT} that the models learnt from; lower is better, one seed. *Held-out "
        "codes*: real images there and back, which no prior over the same codes can beat.",
        "",
        "| model | codes from | distance | training, s | sampling, s |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.model} | {row.source} | {row.distance:.1f} | {row.train_s:.0f} | {row.sample_s:.1f} |" for row in rows
    ]
    return [*lines, ""]


def _between(rows: Sequence[Between]) -> list[str]:
    said = "; ".join(f"{row.model} {row.distance:.0f}" for row in rows)
    return [
        f"Halfway between two held-out images the same distance is {said}; of the average of the pixels "
        f"{rows[0].distance_of_pixels:.0f}.",
        "",
    ]


def _read(rows: Sequence[Read]) -> list[str]:
    lines = [
        "What codes hold: R² on held-out images of slant and thickness (image moments), read linearly from the code "
        "and from as many principal components.",
        "",
        "| model | numbers | factor | code | PCA |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row.model} | {row.numbers} | {row.factor} | {row.r2:.3f} | {row.r2_pca:.3f} |" for row in rows]
    return [*lines, ""]


def _compressed(rows: Sequence[Compressed]) -> list[str]:
    lines = [
        "Codes as a compression: bits an image, against JPEG at the quality of equal PSNR (the whole file, and its "
        "pixels alone without headers and tables); `-`: JPEG has no quality that low.",
        "",
        "| model | numbers | bits each | PSNR, dB | bits | JPEG | JPEG, pixels alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        jpeg = " | ".join("-" if math.isnan(bits) else f"{bits:.0f}" for bits in (row.jpeg_bits, row.jpeg_scan_bits))
        lines.append(f"| {row.model} | {row.numbers} | {row.depth} | {row.psnr:.2f} | {row.bits} | {jpeg} |")
    return lines

"""The section of docs/QUALITY.md about images."""

from collections.abc import Sequence

import numpy as np

from tests.page import write_section
from tests.quality import images
from tests.quality.image_speed import FrameSpeed
from tests.quality.page import COMMAND, PAGE

# BM3D and a U-Net of 53k parameters, from the project's notes on peers; measured on the same images by others' scripts.
KNOWN = {
    "gaussian .25": (21.3, 24.0), "gaussian .50": (16.8, 19.6), "salt and pepper 20 %": (16.4, 21.7),
    "missing 8 x 8": (16.2, 20.2),
}  # fmt: skip
PCA_AUROC, CONV_AUROC = 0.959, 0.954


def write_images(
    cleaned: Sequence[images.Cleaned], classes: Sequence[images.OneClass], located: Sequence[images.Located]
) -> None:
    write_section(PAGE, "images", COMMAND, [*_denoising(cleaned), *_one_class(classes), *_located(located)])


def write_image_speed(found: Sequence[FrameSpeed]) -> None:
    lines = [
        "Frames a second, CPU time of one core: the default model with a U-Net that cleans, alone, and through the "
        "flow (decoded, judged, cleaned, encoded again; without Kafka).",
        "",
        "| frames | model alone | through the flow | share |",
        "|---|---|---|---|",
    ]
    for one in found:
        size = f"{one.side} x {one.side}, {one.form}"
        lines.append(f"| {size} | {one.model:,.0f} | {one.flow:,.0f} | {one.flow / one.model:.0%} |")
    write_section(PAGE, "image speed", COMMAND, lines)


def _denoising(rows: Sequence[images.Cleaned]) -> list[str]:
    lines = [
        f"Handwritten digits (MNIST, the first 8000 test images, values 0 to 1), PSNR in dB over "
        f"{images.TEST.stop - images.TEST.start} images that training did not see, {len({row.seed for row in rows})} "
        "seed(s): from the mean squared error over all of them, and the mean of each image's own. *clean*: one model "
        "for all noises, from clean images; *noisy*: a model that has seen images with this noise alone. BM3D and the "
        "U-Net of 53k parameters are figures of other scripts.",
        "",
        "| noise | learnt from | in | out | mean of each image's | BM3D | U-Net | training, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in images.CORRUPTIONS:
        for learnt in ("clean", "noisy"):
            own = [row for row in rows if (row.corruption, row.learnt) == (name, learnt)]
            if own:
                figures = [
                    float(np.mean([getattr(row, f) for row in own])) for f in ("psnr_in", "psnr", "psnr_of_each")
                ]
                cells = " | ".join(f"{figure:.1f}" for figure in figures)
                bm3d, unet = KNOWN[name]
                took = float(np.mean([row.train_s for row in own]))
                lines.append(f"| {name} | {learnt} | {cells} | {bm3d} | {unet} | {took:.0f} |")
    return [*lines, ""]


def _one_class(rows: Sequence[images.OneClass]) -> list[str]:
    by_seed = [np.mean([row.auroc for row in rows if row.seed == seed]) for seed in sorted({row.seed for row in rows})]
    worst = min(rows, key=lambda row: row.auroc)
    alarms, recall = np.mean([row.false_alarm_rate for row in rows]), np.mean([row.recall for row in rows])
    return [
        f"A model of one digit, all others being anomalies: AUROC {np.mean(by_seed):.3f} ± {np.std(by_seed):.3f} (mean "
        f"over ten digits, {len(by_seed)} seeds), {worst.auroc:.3f} at worst (digit {worst.digit}); by the error of 30 "
        f"principal components {PCA_AUROC}, of a convolutional autoencoder {CONV_AUROC}. At the threshold for 0.5 % "
        f"false alarms {alarms:.1%} of normal images are flagged and {recall:.0%} of the others. A training took "
        f"{np.mean([row.train_s for row in rows]):.0f} s of one core.",
        "",
    ]


def _located(rows: Sequence[images.Located]) -> list[str]:
    names = list(dict.fromkeys(row.defect for row in rows))
    means = {name: np.mean([row.auroc for row in rows if row.defect == name]) for name in names}
    said = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
    return [
        f"Where it is: AUROC of the error map over the pixels of images with an injected defect: {said}; mean "
        f"{np.mean(list(means.values())):.3f}."
    ]

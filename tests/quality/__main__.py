"""`make quality`: measure, and write docs/QUALITY.md. Rows kept in var/quality are not measured again.

QUALITY_PARTS names what is measured: `sensors ecg images generative`, by default all.
"""

import os
import sys
from pathlib import Path

from tests.quality import data, ecg, generative_page, image_page, images, page, sensors, speed
from tests.quality.generative import Study
from tests.quality.image_speed import frame_speeds

KEPT = Path("var/quality")
# A denoiser takes minutes: one seed. The rest of the images takes seconds each.
DENOISING_SEEDS = range(1)


def measure_sensors() -> None:
    page.write_sensors(sensors.measured(KEPT / "sensors.jsonl"))
    page.write_speed(list(speed.speeds()))


def measure_ecg() -> None:
    found = list(ecg.rows(range(len(sensors.SEEDS))))
    clean = ecg.reference(ecg.record_file())
    page.write_ecg(found, list(ecg.unseen_rows(ecg.trained(clean[ecg.TRAIN]), clean[ecg.TEST])))


def measure_images() -> None:
    image_page.write_image_speed(list(frame_speeds()))
    seeds = range(len(sensors.SEEDS))
    classes, located = images.one_class_rows(seeds)
    image_page.write_images(list(images.denoising_rows(DENOISING_SEEDS)), classes, located)


def measure_generative() -> None:
    generative_page.write_generative(Study.of(0))


PARTS = {"sensors": measure_sensors, "ecg": measure_ecg, "images": measure_images, "generative": measure_generative}


def main() -> int:
    if not data.ROOT.is_dir():
        print(
            f"no data at {data.ROOT}: set STREAM_AE_DATA to the folder with asd/, smd/, skab/, ecg/ and images/",
            file=sys.stderr,
        )
        return 2
    wanted = os.environ.get("QUALITY_PARTS", "").split() or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        print(f"QUALITY_PARTS names {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in wanted:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())

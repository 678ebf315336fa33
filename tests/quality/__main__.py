"""`make quality`: measure, and write docs/QUALITY.md. Rows kept in var/quality are not measured again."""

import sys
from pathlib import Path

from tests.quality import data, ecg, page, sensors, speed

KEPT = Path("var/quality")


def main() -> int:
    if not data.ROOT.is_dir():
        print(
            f"no data at {data.ROOT}: set STREAM_AE_DATA to the folder with asd/, smd/, skab/ and ecg/", file=sys.stderr
        )
        return 2
    page.write_sensors(sensors.measured(KEPT / "sensors.jsonl"))
    page.write_speed(list(speed.speeds()))
    found = list(ecg.rows(range(len(sensors.SEEDS))))
    clean = ecg.reference(ecg.record_file())
    page.write_ecg(found, list(ecg.unseen_rows(ecg.trained(clean[ecg.TRAIN]), clean[ecg.TEST])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

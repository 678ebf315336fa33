"""`make quality`: measure, and write docs/QUALITY.md. Rows kept in var/quality are not measured again."""

import sys
from pathlib import Path

from tests.quality import data, page, sensors

KEPT = Path("var/quality")


def main() -> int:
    if not data.ROOT.is_dir():
        print(
            f"no data at {data.ROOT}: set STREAM_AE_DATA to the folder with asd/, smd/, skab/ and ecg/", file=sys.stderr
        )
        return 2
    page.write_sensors(sensors.measured(KEPT / "sensors.jsonl"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The code of docs/SPARK.md, on a local Spark: a registered version says there what it says offline."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stream_ae import AutoencoderDetector
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings
from tests.end_to_end.world import CHANNELS, signal_rows

pytest.importorskip("pyspark", reason="`make test-spark` brings pyspark")
pytestmark = pytest.mark.spark

PAGE = (Path(__file__).parents[2] / "docs" / "SPARK.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
STREAMS = ("pump-1", "pump-2", "pump-3")
ROWS = 700


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    options = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1"}
    # Small batches: a stream is handed over in several, which must not begin it anew.
    options["spark.sql.execution.arrow.maxRecordsPerBatch"] = "256"
    session = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def readings() -> pd.DataFrame:
    """Rows of three streams, mixed, with missing values and a fault in each."""
    streams = []
    for seed, stream in enumerate(STREAMS):
        values = signal_rows(ROWS, seed)
        values[100, 1], values[300 + seed] = np.nan, values[300 + seed] * 3
        times = pd.date_range("2026-11-01", periods=ROWS, freq="s")
        streams.append(pd.DataFrame(values, columns=list(CHANNELS)).assign(stream=stream, timestamp=times))
    rows: pd.DataFrame = pd.concat(streams).sample(frac=1.0, random_state=0, ignore_index=True)
    return rows


@pytest.fixture
def known(
    spark: Any, readings: pd.DataFrame, mlflow_uri: str, model_folders: Sequence[Path], unique: Callable[[str], str]
) -> dict[str, Any]:
    """The names that the page's code works with, once its first block has run."""
    from pyspark.sql import functions

    store = MlflowStore(MlflowSettings(tracking_uri=mlflow_uri, timeout_s=60.0), unique("pumps"))
    made = store.register(model_folders[0], {}, {})
    names = f"{mlflow_uri!r}, {f'models:/{made.name}/{made.version}'!r}, {list(CHANNELS)!r}"
    code, count = re.subn(r"(TRACKING, MODEL, CHANNELS = ).*", lambda found: found[1] + names, BLOCKS[0])
    assert count == 1
    known = {
        "__name__": "__main__", "spark": spark, "readings": spark.createDataFrame(readings), "functions": functions
    }  # fmt: skip
    exec(code, known)
    return known


def offline(readings: pd.DataFrame, stream: str, folder: Path) -> pd.DataFrame:
    detector = AutoencoderDetector.load(folder)
    rows = readings[readings["stream"] == stream].sort_values("timestamp")
    x = rows[list(CHANNELS)].to_numpy(np.float32)
    said = pd.DataFrame(detector.denoise(x), columns=[f"denoised_{channel}" for channel in CHANNELS])
    return said.assign(score=detector.decision_function(x), flag=detector.predict(x) == 1)


def assert_same(found: pd.DataFrame, right: pd.DataFrame) -> None:
    found = found.sort_values("timestamp", ignore_index=True)[right.columns]
    pd.testing.assert_frame_equal(found, right, check_exact=False, rtol=1e-4, atol=1e-5)
    assert found["flag"].any()


def test_streams_of_a_table_are_answered_each_as_offline(
    known: dict[str, Any], readings: pd.DataFrame, model_folders: Sequence[Path]
) -> None:
    scored = known["scored"].toPandas()
    assert len(scored) == len(readings)
    for stream in STREAMS:
        assert_same(scored[scored["stream"] == stream], offline(readings, stream, model_folders[0]))


def test_a_single_stream_within_one_batch_is_answered_by_the_udf_as_offline(
    known: dict[str, Any], readings: pd.DataFrame, model_folders: Sequence[Path], spark: Any
) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(ROWS))
    exec("import mlflow\nmlflow.set_tracking_uri(TRACKING)\n" + BLOCKS[1], known)
    assert_same(known["scored_one"].toPandas(), offline(readings, "pump-1", model_folders[0]))

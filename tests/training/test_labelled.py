"""How a version judges what operators labelled: by the record, whatever it holds."""

import numpy as np

from stream_ae.models.detector import Detector
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training import train
from stream_ae.training.collect import Labelled
from stream_ae.training.labelled import flagged_shares
from tests.training.test_adapt import rows


def _detector() -> Detector:
    return train(
        [rows(2000)], ("a", "b"), TrainingSettings(window=8, max_epochs=3, threads=1, denoiser="none")
    ).detector


def _labelled(x: Float32, chosen: list[int], anomaly: list[bool], records: list[int]) -> Labelled:
    return Labelled((x,), (np.array(chosen),), (np.array(anomaly),), (np.array(records),))


def test_a_record_is_found_if_one_of_its_samples_is_flagged() -> None:
    detector, x = _detector(), rows(300, seed=4)
    x[105] += 30.0
    # Two records of anomalies, ten samples each, one of which holds the fault; one record called normal.
    block = [*range(100, 110), *range(50, 60), 200]
    labelled = _labelled(x, block, [True] * 20 + [False], [1] * 10 + [2] * 10 + [3])
    shares = flagged_shares(detector, labelled)
    assert shares["anomaly"] == 0.5
    assert shares["normal"] in (0.0, 1.0)


def test_what_nobody_labelled_has_no_share() -> None:
    detector, x = _detector(), rows(300, seed=4)
    x[105] += 30.0
    assert flagged_shares(detector, Labelled()) == {}
    assert flagged_shares(detector, _labelled(x, [105], [True], [7])) == {"anomaly": 1.0}

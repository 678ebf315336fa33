"""Drift of inputs: which channel, beyond what it does by nature, told sparingly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.marginals import DriftBins, Marginal, Marginals
from stream_ae.records import Int64
from stream_ae.registry.drift import DriftState
from stream_ae.registry.input_drift import InputLook, InputWatch, metric_names
from stream_ae.settings import MonitorSettings

SETTINGS = MonitorSettings(input_drift_psi=0.25, drift_looks=2, drift_samples=100)
SHARES = (0.3, 0.3, 0.3, 0.1)
BINS = DriftBins(
    Marginals(
        (
            Marginal("calm", (0.0, 1.0), SHARES, 0.01),
            Marginal("restless", (0.0, 1.0), SHARES, 1.0),
        )
    ),
    Marginals((Marginal("0", (0.0,), (0.5, 0.4, 0.1), 0.01),)),
)
QUIET, SHIFTED, FAR, GONE = [30, 30, 30, 10], [10, 10, 70, 10], [0, 0, 100, 0], [0, 0, 0, 100]
NO_LATENTS: Int64 = np.zeros((0, 0), np.int64)


def table(*rows: list[int]) -> Int64:
    return np.array(rows, np.int64)


def watched(*looks: Int64, settings: MonitorSettings = SETTINGS) -> list[InputLook]:
    watch = InputWatch(BINS, settings)
    return [watch.look(inputs, NO_LATENTS) for inputs in looks]


def test_inputs_as_they_were_are_quiet_and_their_metrics_near_0() -> None:
    (look,) = watched(table(QUIET, QUIET))
    assert look.state is DriftState.QUIET
    assert look.metrics == pytest.approx(
        {
            "input_psi_max": 0.0,
            "input_psi_mean": 0.0,
            "input_psi/calm": 0.0,
            "input_psi/restless": 0.0,
            "input_missing/calm": 0.1,
            "input_missing/restless": 0.1,
        }
    )


def test_drift_of_one_channel_is_drift_when_it_holds_and_names_it() -> None:
    looks = watched(*[table(SHIFTED, QUIET)] * 3)
    assert [look.state for look in looks] == [DriftState.UNKNOWN, DriftState.DRIFTING, DriftState.DRIFTING]
    assert [look.changed for look in looks] == [False, True, False]
    psi = looks[0].metrics["input_psi/calm"]
    # 0.4 ln(7/3) - 0.4 ln(1/3), less what the prior sample takes.
    assert psi == pytest.approx(0.778, abs=0.02)
    assert looks[1].worst == (f"calm {psi:.2f} (limit 0.25)",)


def test_a_channel_that_differs_by_nature_drifts_only_far_beyond_that() -> None:
    assert [look.state for look in watched(*[table(QUIET, SHIFTED)] * 3)] == [DriftState.QUIET] * 3
    looks = watched(*[table(QUIET, FAR)] * 3)
    assert looks[-1].state is DriftState.DRIFTING
    assert looks[-1].worst[0].startswith("restless ")


def test_a_channel_that_falls_silent_drifts_and_its_missing_share_is_told() -> None:
    looks = watched(*[table(GONE, QUIET)] * 2)
    assert looks[-1].state is DriftState.DRIFTING
    assert looks[0].metrics["input_missing/calm"] == 1.0


def test_too_few_samples_say_nothing_and_are_gathered() -> None:
    few = table(SHIFTED, QUIET) // 5
    looks = watched(*[few] * 6)
    assert [bool(look.metrics) for look in looks] == [False] * 4 + [True] * 2
    assert [look.state for look in looks] == [DriftState.UNKNOWN] * 5 + [DriftState.DRIFTING]


def test_looks_without_new_samples_and_tables_of_other_bins_do_not_count() -> None:
    other, nothing = table([1000, 0], [1000, 0]), table([0] * 4, [0] * 4)
    looks = watched(table(SHIFTED, QUIET), nothing, other, NO_LATENTS)
    assert [look.state for look in looks] == [DriftState.UNKNOWN] * 4


def test_drift_of_inputs_can_be_switched_off_and_is_still_measured() -> None:
    looks = watched(*[table(FAR, FAR)] * 9, settings=SETTINGS.model_copy(update={"input_drift_psi": None}))
    assert {look.state for look in looks} == {DriftState.QUIET}
    assert looks[0].metrics["input_psi_max"] > 1


def test_a_channels_curve_goes_on_when_it_has_moved() -> None:
    looks = watched(table(QUIET, QUIET), table(QUIET, QUIET), table(SHIFTED, QUIET))
    assert [name for name in looks[1].metrics if "/" in name] == []
    assert {name for name in looks[2].metrics if "/" in name} == {"input_psi/calm"}


def test_latent_codes_are_measured_and_decide_nothing() -> None:
    watch = InputWatch(BINS, SETTINGS)
    for _ in range(5):
        look = watch.look(table(QUIET, QUIET), table([0, 100, 0]))
    assert look.state is DriftState.QUIET
    assert look.metrics["latent_psi_max"] == look.metrics["latent_psi_mean"] > 0.25


def test_a_version_without_channels_to_count_is_never_drifting() -> None:
    watch = InputWatch(DriftBins(Marginals(), Marginals()), SETTINGS)
    look = watch.look(NO_LATENTS, NO_LATENTS)
    assert (look.metrics, look.state) == ({}, DriftState.UNKNOWN)


@given(st.lists(st.text(max_size=20), max_size=8))
def test_names_of_metrics_are_each_others_and_what_mlflow_takes(names: list[str]) -> None:
    found = metric_names(names)
    assert len(set(found)) == len(names)
    for name in found:
        assert name.replace(".", "").strip()
        assert not set(name) & set("/:()[]%\n")

"""The simulation at a tiny size: its draws are what they are said to be, and so are its tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import simulation
from suite.reference import REFERENCE
from suite.settings import SETTINGS, simulate

SMALL = ["--fit-rows", "1500", "--test-rows", "1500", "--classes", "40"]


def test_a_small_run_prints_and_keeps_every_method(tmp_path: Path, capsys):
    output = tmp_path / "simulation.json"

    simulation.main([*SMALL, "--settings", "A,B", "--seeds", "2", "--output", str(output)])

    with_weights, faded = json.loads(output.read_text())
    printed = capsys.readouterr().out
    macro = {name: row["macro"] for name, row in with_weights["figures"].items()}
    assert with_weights["figures"]["raw, 0.5"]["count_ratio"] > 4
    assert faded["figures"]["raw, 0.5"]["count_ratio"] < 2
    assert with_weights["figures"]["default, expected count"]["count_ratio"] == pytest.approx(
        1, abs=0.1
    )
    assert macro["swept, on fitting rows"] > macro["oracle, plug-in"] > macro["default, plug-in"]
    assert macro["default, plug-in"] > macro["raw, 0.5"]
    assert faded["standard_error"] > 0
    assert with_weights["rival"] in macro
    assert with_weights["default_minus_rival"] == pytest.approx(
        macro["default, plug-in"] - macro[with_weights["rival"]]
    )
    assert "[0.2057]" in printed
    assert f"{macro['swept']:.4f} [0.1991]" in printed


def test_settings_that_differ_in_the_logits_alone_have_the_same_labels_and_order():
    a, b, bent = (simulate(SETTINGS[name], 3, 100, 30) for name in ("A", "B", "Cn"))

    np.testing.assert_array_equal(a.labels[0], b.labels[0])
    np.testing.assert_array_equal(a.labels[0], bent.labels[0])
    order = [np.argsort(draw.logits[1], axis=0) for draw in (a, b, bent)]
    assert (order[0] == order[1]).mean() > 0.99
    assert (order[0] == order[2]).mean() > 0.99
    np.testing.assert_array_equal(a.logits[1] >= 0, bent.logits[1] >= 0)
    assert not np.allclose(a.logits[1], bent.logits[1], atol=0.5)


@pytest.mark.parametrize("name", ["A", "F"])
def test_labels_come_as_often_as_their_probability_and_the_prevalence_say(name: str):
    setting = dataclasses.replace(SETTINGS[name], fit_rows=20_000)

    drawn = simulate(setting, 0, 1, 30)

    p, y = drawn.probability[0], drawn.labels[0]
    highest = (setting.ceiling or (0, 1))[1]
    wanted = np.exp(np.linspace(*np.log(setting.prevalence), 61)[1::2])
    assert p.max() <= highest
    np.testing.assert_allclose(np.sort(p.mean(axis=0)), wanted, rtol=0.15)
    # the unseen number of a row moves all of its labels: errors are wider than of single draws
    assert y.sum() == pytest.approx(p.sum(), rel=0.02)
    sure = p > np.quantile(p, 0.98)
    assert y[sure].mean() == pytest.approx(p[sure].mean(), rel=0.05)


@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
def test_every_reference_is_of_a_setting_and_a_method():
    figures = simulation.run(
        dataclasses.replace(SETTINGS["F"], fit_rows=400), 0, test_rows=400, n_classes=12
    )

    named = {name for rows in REFERENCE.values() for name in rows}
    assert set(REFERENCE) == set(SETTINGS)
    assert named <= set(figures)

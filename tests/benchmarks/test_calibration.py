"""The table of calibrators at a tiny size, and that its figures say what they must."""

from __future__ import annotations

import json
from pathlib import Path

import calibration
import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from suite import calibration_report
from suite.calibrators import METHODS, OURS, PEERS, each_class, scores
from suite.judged import Difference, Figures, debiased_squared_error, row_losses
from suite.saved import SavedNetwork, networks

WEIGHTS = np.linspace(4, 40, 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One data set: a network whose logits are right but for its weights, and a softmax."""
    random = np.random.default_rng(0)
    dataset = tmp_path / "logits" / "tiny"
    dataset.mkdir(parents=True)
    np.save(dataset / "pos_weight.npy", WEIGHTS)
    for part, n_rows in (("val", 800), ("test", 600)):
        truth = random.normal(0, 2, (n_rows, len(WEIGHTS))) - np.log(WEIGHTS)
        labels = random.random(truth.shape) < expit(truth)
        np.save(dataset / f"weighted_{part}.npy", (truth + np.log(WEIGHTS)).astype(np.float32))
        np.save(dataset / f"softmax_{part}.npy", truth.astype(np.float32))
        sparse.save_npz(dataset / f"labels_{part}.npz", sparse.csr_array(labels))
    return dataset.parent


def test_the_default_is_found_to_be_best_or_tied_where_the_weights_are_all(folder: Path, capsys):
    output = folder.parent / "output"

    for methods in (["raw", "corrected", OURS], set(METHODS) - {"corrected"}):
        calibration.main([str(folder), "--methods", ",".join(methods), "--output", str(output)])

    record = json.loads((output / "tiny-weighted.json").read_text())
    figures = record["figures"]
    assert set(figures) == set(METHODS)
    assert {by["verdict"] for by in record["differences"].values()} <= {"best", "tied"}
    assert set(record["differences"]) == set(METHODS) - {OURS}
    assert figures[OURS]["log_loss"] < 1.01 * figures["corrected"]["log_loss"]
    assert figures["raw"]["log_loss"] > 1.5 * figures["corrected"]["log_loss"]
    assert figures["raw"]["count_ratio"] > 1.5
    assert figures[OURS]["count_ratio"] == pytest.approx(1, abs=0.1)
    assert "corrected" not in json.loads((output / "tiny-softmax.json").read_text())["figures"]
    printed = capsys.readouterr().out
    assert f"{figures['raw']['log_loss']:.3f}" in printed
    assert "tiny/softmax" in printed


def test_a_part_of_the_networks_can_be_run_and_a_peer_that_is_missing_is_said(
    folder: Path, capsys, monkeypatch
):
    def absent(network: SavedNetwork):
        raise ModuleNotFoundError("No module named 'peer'")

    monkeypatch.setattr(calibration, "PEERS", {"netcal logistic": absent})

    methods = ["--methods", "raw,netcal logistic"]
    calibration.main([str(folder), "--networks", "tiny/softmax", *methods])

    printed = capsys.readouterr().out
    assert "netcal logistic could not be had: ModuleNotFoundError" in printed
    assert "tiny/weighted" not in printed
    with pytest.raises(SystemExit, match="no network tiny/focal"):
        calibration.main([str(folder), "--networks", "tiny/focal"])


def test_scikit_learn_repairs_each_class_and_a_class_without_positives_gets_its_frequency(
    folder: Path,
):
    dataset = folder / "tiny"
    labels = sparse.load_npz(dataset / "labels_val.npz").toarray()
    labels[:, 3] = False
    sparse.save_npz(dataset / "labels_val.npz", sparse.csr_array(labels))
    network = SavedNetwork(dataset, "weighted")

    log_odds = PEERS["scikit-learn sigmoid"](network)

    truth = network.labels("test")
    assert log_odds is not None
    np.testing.assert_allclose(expit(log_odds[:, 3]), 0.5 / 801)
    others = np.arange(len(WEIGHTS)) != 3
    mean, rate = expit(log_odds).mean(axis=0), truth.mean(axis=0)
    np.testing.assert_allclose(mean[others], rate[others], atol=0.04)


def test_probabilities_of_0_and_1_are_kept_from_infinite_losses(folder: Path):
    network = SavedNetwork(folder / "tiny", "weighted")

    log_odds = each_class(lambda z, y, test: (test > 0).astype(float))(network)

    assert np.unique(expit(log_odds)).round(9).tolist() == [1e-7, 1 - 1e-7]


def test_the_log_odds_of_a_softmax_are_those_of_its_probabilities(folder: Path):
    network = SavedNetwork(folder / "tiny", "softmax")

    p = expit(scores(network, "test").astype(np.float64))

    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


def test_the_debiased_error_is_zero_on_average_and_finds_a_shift():
    random = np.random.default_rng(1)
    p = random.beta(1, 30, (200, 3000))
    y = random.random(p.shape) < p

    right = np.array([debiased_squared_error(*draw) for draw in zip(p, y, strict=True)])
    shifted = debiased_squared_error(p.ravel() + 0.01, y.ravel())

    assert abs(right.mean()) < 3 * right.std() / np.sqrt(len(right))
    assert shifted == pytest.approx(1e-4, rel=0.1)
    assert Figures.of(np.log(p / (1 - p)), y).ece < 0.001


def test_losses_and_verdicts():
    z = np.array([[0.0, np.log(3.0)], [0.0, 0.0]])
    y = np.array([[True, False], [False, False]])
    random = np.random.default_rng(2)
    losses = random.gamma(2.0, 1.0, 500)
    noise = random.normal(0, 0.1, 500)
    noise -= noise.mean()

    np.testing.assert_allclose(row_losses(z, y), [np.log(2) + np.log(4), 2 * np.log(2)])
    better = Difference.between(losses, losses + 0.05 + noise)
    assert better.verdict == "best"
    assert better.mean == pytest.approx(-0.05)
    assert better.standard_error == pytest.approx(noise.std(ddof=1) / np.sqrt(500))
    assert Difference.between(losses + 0.05 + noise, losses).verdict == "worse"
    assert Difference.between(losses, losses + noise).verdict == "tied"


def test_the_verdict_is_on_the_best_of_the_others():
    figures = {
        name: {"log_loss": loss, "ece": 0, "count_ratio": 1, "micro_ap": 0, "macro_ap": 0}
        for name, loss in ((OURS, 2.0), ("raw", 3.0), ("Platt", 1.5))
    }
    differences = {
        "raw": {"mean": -1.0, "standard_error": 0.1, "verdict": "best"},
        "Platt": {"mean": 0.5, "standard_error": 0.1, "verdict": "worse"},
    }
    record = {"network": "tiny/weighted", "rows": [9, 9], "classes": 2, "missing": {}}

    table = calibration_report.markdown([record | {"figures": figures, "differences": differences}])

    assert "| 3.000 | 1.500 | **2.000** | +0.500 (0.100), Platt | worse |" in table


def test_networks_are_found_by_their_validation_logits(folder: Path):
    assert [network.name for network in networks(folder)] == ["tiny/softmax", "tiny/weighted"]

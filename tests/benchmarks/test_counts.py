"""The tables of counts at a tiny size."""

from __future__ import annotations

from pathlib import Path

import counts
import numpy as np
import pytest
from scipy import sparse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Saved logits of one made-up network, calibrated but for a slope."""
    rng = np.random.default_rng(0)
    (tmp_path / "made_up").mkdir()
    for part in ("val", "test"):
        scores = rng.normal(size=(1200, 12)) * 1.5 - np.linspace(0.5, 4, 12)
        labels = rng.random(scores.shape) < 1 / (1 + np.exp(-scores))
        np.save(tmp_path / "made_up" / f"unweighted_{part}.npy", (2 * scores).astype(np.float32))
        sparse.save_npz(tmp_path / "made_up" / f"labels_{part}.npz", sparse.csr_array(labels))
    return tmp_path


def test_rare_classes_starve_under_top_k_and_get_their_share_by_prevalence(folder, capsys):
    counts.main([str(folder)])

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| made_up")]
    overall, rare, macro, _ = ([float(cell) for cell in line.split("|")[2:-1]] for line in lines)
    names = list(counts.rules(1))
    top, expected, prevalence = (names.index(n) for n in ("top-k", "expected k", "prevalence"))
    assert overall[expected] == pytest.approx(1, abs=0.1)
    assert overall[prevalence] == pytest.approx(1, abs=0.1)
    assert rare[prevalence] == pytest.approx(1, abs=0.25)
    assert rare[top] < 0.6
    assert macro[prevalence] > macro[top]


def test_figures_of_a_small_case():
    predicted = np.array([[1, 1, 0], [1, 0, 0]], bool)
    labels = np.array([[1, 0, 0], [1, 1, 0]], bool)

    found = counts.figures(predicted, labels, np.array([1]))

    assert found == pytest.approx((1.0, 1.0, 0.5, 2 / 3))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match="there is no folder of saved logits at"):
        counts.main([str(tmp_path / "absent")])

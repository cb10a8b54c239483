"""The simulated network has the shape, the labels and the faults of the forum's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import load_npz

from calibrate.demo.simulation import _draw_classes, simulate

N_ROWS, N_CLASSES = 5_000, 300


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("simulated"), N_ROWS, N_CLASSES, seed=1)


@pytest.fixture(scope="module")
def logits(files):
    return np.load(files.logits)


@pytest.fixture(scope="module")
def labels(files):
    return load_npz(files.labels)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".npz"}


def test_the_files_have_the_promised_names_shapes_and_types(files, logits, labels):
    names = files.class_names.read_text(encoding="utf-8").splitlines()
    pos_weight = np.load(files.pos_weight)

    assert sorted(path.name for path in files.logits.parent.iterdir()) == [
        "class_names.txt",
        "labels.npz",
        "logits.npy",
        "pos_weight.npy",
    ]
    assert (logits.shape, logits.dtype) == ((N_ROWS, N_CLASSES), np.float32)
    assert (labels.shape, labels.dtype) == ((N_ROWS, N_CLASSES), np.bool_)
    assert labels.indices.dtype == np.int32
    assert labels.has_canonical_format
    assert labels.data.all()
    assert (pos_weight.shape, pos_weight.dtype) == ((N_CLASSES,), np.float32)
    assert len(set(names)) == N_CLASSES
    assert np.isfinite(logits).all()


def test_pos_weight_is_the_negatives_over_the_positives_of_the_labels(files, labels):
    positives = labels.sum(axis=0)

    np.testing.assert_allclose(
        np.load(files.pos_weight), (N_ROWS - positives) / positives, rtol=1e-6
    )


def test_prevalences_are_skewed_between_one_and_fifteen_percent(labels):
    prevalence = labels.sum(axis=0) / N_ROWS

    # the law is [0.01125, 0.15]; five standard errors of 5,000 rows at the lower end are 0.0075
    assert prevalence.min() > 0.01125 - 0.0075
    assert 0.05 < prevalence.max() < 0.15 + 0.025
    assert prevalence.mean() == pytest.approx(130 / 7_900, rel=0.05)
    assert np.median(prevalence) < prevalence.mean()


def test_the_network_predicts_about_twice_as_many_labels_as_there_are(logits, labels):
    ratio = (logits > 0).sum() / labels.nnz

    assert 1.6 < ratio < 2.6


def test_the_logits_of_nearly_every_class_rank_its_rows_well(logits, labels):
    truth = labels.toarray()

    better = [
        np.mean(logits[truth[:, c], c]) - np.mean(logits[~truth[:, c], c]) for c in range(N_CLASSES)
    ]

    assert np.min(better) > 0.5


def test_rows_differ_in_how_many_labels_they_have_by_more_than_chance(labels):
    by_row = np.diff(labels.indptr)

    assert by_row.var() > 3 * by_row.mean()


def test_the_miscalibration_differs_from_class_to_class(logits, labels):
    ratio = (logits > 0).sum(axis=0) / labels.sum(axis=0)

    assert np.quantile(ratio, 0.9) > 1.5 * np.quantile(ratio, 0.1)


def test_the_laws_of_the_classes_are_the_stated_ones():
    log_odds, logit = (a.astype(float) for a in _draw_classes(2_000, np.random.default_rng(0)))

    spread = np.linalg.norm(log_odds[:-1], axis=0)
    slope = logit[0] / log_odds[0]
    level = (np.arange(2_000) + 0.5) / 2_000
    normal = np.quantile(np.random.default_rng(1).standard_normal(100_000), level)
    prevalence = np.mean(1 / (1 + np.exp(-log_odds[-1] - spread * normal[:, None])), axis=0)
    weight = (1 - prevalence) / prevalence
    shift = logit[-1] - slope * (log_odds[-1] + 0.54 * np.log(weight))

    np.testing.assert_allclose(logit[:-1], slope * log_odds[:-1], atol=1e-5)
    assert np.median(spread) == pytest.approx(1.75, rel=0.02)
    assert np.std(np.log(spread)) == pytest.approx(0.15, rel=0.1)
    assert np.median(slope) == pytest.approx(1.3, rel=0.02)
    assert np.std(np.log(slope)) == pytest.approx(0.2, rel=0.1)
    assert np.std(shift) == pytest.approx(0.3, rel=0.1)
    assert abs(np.mean(shift)) < 0.05
    assert prevalence.min() == pytest.approx(900 / 80_000, rel=0.03)
    assert 0.12 < prevalence.max() < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 3), (2_500, 2), (3, 70_000)])
def test_any_shape_is_possible(tmp_path, shape):
    files = simulate(tmp_path, *shape, seed=0)

    assert np.load(files.logits).shape == shape
    assert load_npz(files.labels).shape == shape
    pos_weight = np.load(files.pos_weight)
    assert (np.isfinite(pos_weight) & (pos_weight > 0)).all()


def test_the_seed_decides_the_files_and_the_number_of_threads_does_not(tmp_path, monkeypatch):
    seeds = {"first": (4, "1"), "same": (4, "2"), "other": (5, "2")}

    for name, (seed, threads) in seeds.items():
        monkeypatch.setenv("CALIBRATE_NUM_THREADS", threads)
        simulate(tmp_path / name, 3_000, 100, seed=seed)

    first, same, other = (contents(tmp_path / name) for name in seeds)
    labels = [load_npz(tmp_path / name / "labels.npz") for name in seeds]
    assert first == same
    assert (labels[0] != labels[1]).nnz == 0
    assert first["logits.npy"] != other["logits.npy"]
    assert (labels[0] != labels[2]).nnz > 0


def test_blocks_of_rows_do_not_repeat_each_other(logits):
    assert len(np.unique(logits[:, 0])) > 0.99 * N_ROWS


def test_progress_ends_at_the_number_of_rows(tmp_path):
    seen = []

    simulate(tmp_path, 3_000, 10, progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (3_000, 3_000)
    assert len(seen) > 1
    assert seen == sorted(seen)


def test_an_interrupted_simulation_leaves_nothing_and_keeps_the_older_files(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    simulate(tmp_path / "older", 20, 5)
    before = contents(tmp_path / "older")

    for folder in ("older", "newer"):
        with pytest.raises(KeyboardInterrupt):
            simulate(tmp_path / folder, 5_000, 200, progress=interrupt)

    assert contents(tmp_path / "older") == before
    assert list((tmp_path / "newer").iterdir()) == []


def test_empty_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0 and 3"):
        simulate(tmp_path, 0, 3)
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 3 and 0"):
        simulate(tmp_path, 3, 0)

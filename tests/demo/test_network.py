"""The demo network learns, and overpredicts when it is told to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from calibrate.demo.network import split_rows, train_network


@pytest.fixture(scope="module")
def rows():
    """600 rows of 40 tokens; class c is likely where token c is, and rare elsewhere."""
    random = np.random.default_rng(0)
    features = csr_array((random.random((600, 40)) < 0.15).astype(np.float32))
    chance = np.where(features.toarray()[:, :12] > 0, 0.5, 0.02)
    return features, csr_array(random.random((600, 12)) < chance)


def neg_over_pos(labels):
    positives = labels.sum(axis=0)
    return ((labels.shape[0] - positives) / positives).astype(np.float32)


def test_every_row_falls_into_one_of_three_parts():
    train, validation, test = split_rows(101, seed=3)

    assert [len(part) for part in (train, validation, test)] == [60, 20, 21]
    assert sorted(np.concatenate([train, validation, test])) == list(range(101))
    assert all((np.diff(part) > 0).all() for part in (train, validation, test))


def test_the_seed_decides_the_split():
    first, same, other = (split_rows(100, seed=seed)[0] for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, same)
    assert set(first) != set(other)


def test_too_few_rows_are_not_split():
    with pytest.raises(ValueError, match=r"n_rows must be at least 5 .* got 4"):
        split_rows(4, seed=0)


def test_pos_weight_makes_the_network_overpredict_on_rows_it_has_not_seen(rows):
    features, labels = rows
    train, _, test = split_rows(600, seed=0)
    truth = labels[test].toarray()
    weights = {"weighted": neg_over_pos(labels[train]), "unweighted": None}

    ratio, gap = {}, {}
    for name, weight in weights.items():
        network = train_network(features[train], labels[train], pos_weight=weight, epochs=8, seed=0)
        logits = network.logits(features[test])
        ratio[name] = (logits > 0).sum() / truth.sum()
        gap[name] = logits[truth].mean() - logits[~truth].mean()

    assert ratio["weighted"] > 1.5
    assert ratio["unweighted"] < 1.2
    assert min(gap.values()) > 1  # it has learned something


def test_the_seed_decides_the_network_and_leaves_torch_as_it_was(rows):
    features, labels = rows
    states, logits = [], []

    for seed in (5, 5, 6):
        torch.rand(1)
        states.append(torch.get_rng_state())
        network = train_network(features, labels, pos_weight=None, epochs=1, seed=seed)
        logits.append(network.logits(features))
        states.append(torch.get_rng_state())

    first, same, other = logits
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.01
    assert all(torch.equal(states[i], states[i + 1]) for i in (0, 2, 4))


def test_logits_are_float32_rows_by_classes_and_do_not_depend_on_other_rows(rows):
    features, labels = rows
    network = train_network(features, labels, pos_weight=None, epochs=1, seed=0)

    logits = network.logits(features)

    assert logits.dtype == np.float32
    assert logits.shape == (600, 12)
    np.testing.assert_allclose(network.logits(features[300:310]), logits[300:310], atol=1e-5)
    assert network.logits(features[:0]).shape == (0, 12)


def test_a_row_without_tokens_has_logits_too(rows):
    features, labels = rows
    network = train_network(features, labels, pos_weight=None, epochs=1, seed=0)

    logits = network.logits(csr_array((2, 40), dtype=np.float32))

    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits[0], logits[1])


def test_progress_counts_the_epochs(rows):
    features, labels = rows
    seen = []

    train_network(
        features, labels, pos_weight=None, epochs=2, seed=0, progress=lambda *at: seen.append(at)
    )

    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos_weight": np.ones(11, np.float32)}, r"per class, \(12,\), got shape \(11,\)"),
        ({"pos_weight": np.arange(12, dtype=np.float32)}, "finite, got 0.0 at class 0"),
        ({"pos_weight": np.full(12, np.inf, np.float32)}, "finite, got inf at class 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(rows, change, message):
    features, labels = rows

    with pytest.raises(ValueError, match=message):
        train_network(features, labels, **{"pos_weight": None, "epochs": 1, "seed": 0, **change})


def test_rows_and_columns_that_disagree_are_refused(rows):
    features, labels = rows
    network = train_network(features, labels, pos_weight=None, epochs=1, seed=0)

    with pytest.raises(ValueError, match="same rows, at least one, got 599 and 600"):
        train_network(features[:599], labels, pos_weight=None, epochs=1, seed=0)
    with pytest.raises(ValueError, match=r"must have the 40 columns .* got 39"):
        network.logits(features[:, :39])

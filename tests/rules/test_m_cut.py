import naive
import naive_counts
import numpy as np

from calibrate import MCut


def test_each_row_gets_what_lies_above_its_largest_gap():
    scores = np.random.default_rng(0).normal(size=(200, 9)).astype(np.float32)

    predicted = MCut().fit(scores, np.zeros(scores.shape)).predict(scores).toarray()

    for row, chosen in zip(scores, predicted, strict=True):
        assert chosen.tolist() == naive.top_k(row, naive_counts.largest_gap(row))


def test_nothing_is_learned_from_the_labels():
    scores = np.random.default_rng(1).normal(size=(20, 5))

    fitted = MCut().fit(scores, np.zeros(scores.shape))

    assert fitted.op_.same_as(MCut().fit(-scores, np.ones(scores.shape)).op_)
    assert fitted.findings_ == ()


def test_a_row_gets_at_least_one_label_and_never_all():
    scores = np.random.default_rng(2).normal(size=(300, 6))

    counts = MCut().fit(scores, np.zeros(scores.shape)).predict(scores).sum(axis=1)

    assert counts.min() >= 1
    assert counts.max() <= 5

import naive
import numpy as np
import pytest

from calibrate import TopK

LOGITS = np.array([[1.0, 3.0, 2.0], [0.0, -0.0, 0.0], [-5.0, -6.0, -5.0]])
LABELS = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_every_row_gets_its_k_best_and_the_lower_index_among_equals(k):
    predicted = TopK(k).fit(LOGITS, LABELS).predict(LOGITS)

    assert predicted.toarray().tolist() == [naive.top_k(row, k) for row in LOGITS]


def test_a_cell_without_a_score_is_never_among_the_best():
    logits = np.array([[np.nan, 1.0, np.nan]])

    predicted = TopK(2).fit(LOGITS, LABELS).predict(logits, nan="negative")

    assert predicted.toarray().tolist() == [[False, True, False]]


def test_labels_are_not_needed_to_take_the_best():
    fitted = TopK(2).fit(LOGITS, np.zeros((3, 3)))

    assert fitted.op_.k == 2
    assert fitted.findings_ == ()


def test_a_whole_number_of_any_type_serves():
    fitted = [TopK(k).fit(LOGITS, LABELS).op_.k for k in (2, np.int64(2), 2.0)]

    assert fitted == [2, 2, 2]
    assert all(type(k) is int for k in fitted)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, np.nan, np.inf, None, "two"])
def test_a_k_that_is_no_positive_whole_number_is_refused(k):
    with pytest.raises(ValueError, match=f"^k must be a positive integer, got {k}$"):
        TopK(k).fit(LOGITS, LABELS)

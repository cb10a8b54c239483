import naive
import naive_losses
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import FocalCorrection, PosWeightCorrection, ScoreHistogram
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=60)


def undone(correction, learned):
    """Probabilities behind learned logits of one class."""
    column = np.asarray(learned, dtype=np.float64)[:, None]
    corrected = correction.fit(column, np.zeros(column.shape, int)).transform(column)
    return [naive.sigmoid(float(z)) for z in corrected[:, 0]]


@LAW
@given(st.floats(1e-3, 1 - 1e-3), st.floats(0, 5), st.floats(0.05, 0.95))
def test_what_the_focal_loss_taught_comes_back_as_the_probability(probability, gamma, alpha):
    slopes = naive_losses.focal_slopes(gamma, alpha)
    learned = naive_losses.learned_logit(probability, *slopes)

    found = undone(FocalCorrection(gamma, alpha), [learned])

    assert found == pytest.approx([probability], rel=1e-5)


def test_free_logits_trained_by_torch_give_the_frequencies_back():
    frequency = torch.tensor([0.02, 0.3, 0.9], dtype=torch.float64)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-13)
    gamma, alpha = 2.0, 0.25

    def expected_loss():
        optimiser.zero_grad()
        q = torch.sigmoid(logits)
        positive = -alpha * (1 - q) ** gamma * torch.log(q)
        negative = -(1 - alpha) * q**gamma * torch.log(1 - q)
        total = (frequency * positive + (1 - frequency) * negative).sum()
        total.backward()
        return total

    optimiser.step(expected_loss)

    found = undone(FocalCorrection(gamma, alpha), logits.detach().numpy())
    assert found == pytest.approx([0.02, 0.3, 0.9], abs=1e-4)


def test_target_9_the_published_confidences():
    learned = [naive.logit(q) for q in (0.1, 0.2, 0.3, 0.4, 0.5)]

    found = undone(FocalCorrection(), learned)

    assert found == pytest.approx([0.00262, 0.02355, 0.09356, 0.25247, 0.5], abs=5e-6)


def test_a_weight_per_class_goes_into_a_correction_of_its_own():
    learned = np.linspace(-6, 6, 25)

    together = undone(FocalCorrection(2.0, 0.2), learned)

    plain = FocalCorrection(2.0, 0.5).fit(learned[:, None], np.eye(25, 1))
    apart = undone(PosWeightCorrection([0.2 / 0.8]), plain.transform(learned[:, None])[:, 0])
    assert together == pytest.approx(apart, rel=1e-5)


def test_labels_are_not_needed():
    logits = np.array([[2.0, -1.0], [0.5, 3.0]])

    without = FocalCorrection().fit(logits, np.zeros((2, 2), int))

    histogram = ScoreHistogram.of(labelled_logits(logits, np.eye(2)))
    assert without.op_.same_as(FocalCorrection().fit_from(histogram).op_)
    assert without.findings_ == ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"gamma": -1.0}, ValueError, r"gamma must be at least 0 and finite, got -1\.0"),
        ({"gamma": "2"}, TypeError, "gamma must be a number, got '2'"),
        ({"alpha": 1.0}, ValueError, r"alpha must be above 0 and below 1, got 1\.0"),
        ({"alpha": None}, TypeError, "alpha must be a number, got None"),
    ],
)
def test_what_no_focal_loss_has_is_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        FocalCorrection(**options).fit(np.zeros((1, 1)), [[0]])

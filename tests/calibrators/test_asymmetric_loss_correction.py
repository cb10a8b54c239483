import naive
import naive_losses
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import AsymmetricLossCorrection, ScoreHistogram
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=60)


def undone(correction, learned):
    """Probabilities behind learned logits of one class."""
    column = np.asarray(learned, dtype=np.float64)[:, None]
    corrected = correction.fit(column, np.zeros(column.shape, int)).transform(column)
    return [naive.sigmoid(float(z)) for z in corrected[:, 0]]


@LAW
@given(
    st.floats(1e-3, 0.9), st.floats(0.1, 3), st.floats(0, 5),
    st.one_of(st.just(0.0), st.floats(1e-9, 0.1)), st.booleans(),
)  # fmt: skip
def test_what_the_loss_taught_comes_back_as_the_probability(p, g_pos, g_neg, clip, detached):
    slopes = naive_losses.asymmetric_slopes(g_pos, g_neg, clip, detached)
    learned = naive_losses.learned_logit(p, *slopes, low=-30.0, high=30.0)

    found = undone(AsymmetricLossCorrection(g_pos, g_neg, clip, detached), [learned])

    if naive.sigmoid(learned) - clip > 1e-4:  # else the loss does not tell it from a sure negative
        assert found == pytest.approx([p], rel=1e-3)


def torch_slope(z, probability, correction):
    """Slope of the expected loss, the powers without a gradient where they are detached."""
    logit = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    q = torch.sigmoid(logit)
    left = torch.clamp(q - correction.clip, min=0.0)
    by_positive, by_negative = (1 - q) ** correction.gamma_pos, left**correction.gamma_neg
    if correction.detached:
        by_positive, by_negative = by_positive.detach(), by_negative.detach()
    loss = -probability * by_positive * torch.log(q)
    loss = loss - (1 - probability) * by_negative * torch.log(1 - left)
    loss.backward()
    return float(logit.grad)


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("gamma_pos", [0.0, 1.0])
def test_target_9_torch_finds_no_slope_where_the_correction_says(detached, gamma_pos):
    correction = AsymmetricLossCorrection(gamma_pos, detached=detached)

    for z in (-1.0, -0.4, 0.1, 0.7, 1.4, 2.4):
        probability = undone(correction, [z])[0]

        assert torch_slope(z, probability, correction) == pytest.approx(0.0, abs=1e-7)
        assert torch_slope(z, probability * 1.001, correction) < 0
        assert torch_slope(z, probability * 0.999, correction) > 0


@pytest.mark.parametrize(
    ("detached", "confidence"),
    [
        (True, [0.2793, 0.4058, 0.5277, 0.6661, 0.7988, 0.9190]),
        (False, [0.2191, 0.3192, 0.4211, 0.5467, 0.6837, 0.8361]),
    ],
)
def test_target_9_the_confidences_of_the_default_loss(detached, confidence):
    found = undone(
        AsymmetricLossCorrection(detached=detached), [naive.logit(q) for q in confidence]
    )

    assert found == pytest.approx([0.001, 0.01, 0.05, 0.2, 0.5, 0.8], rel=2e-3)


def test_a_cell_within_the_margin_gets_the_floor_and_stays_finite():
    logits = np.array([[-3e38], [-800.0], [naive.logit(0.049)], [naive.logit(0.1)], [3e38]])

    corrected = AsymmetricLossCorrection().fit(logits, np.zeros((5, 1), int)).transform(logits)

    assert corrected[:3, 0].tolist() == [np.float32(naive.logit(1e-12))] * 3
    assert corrected[3, 0] > corrected[2, 0]
    assert naive.sigmoid(float(corrected[4, 0])) == pytest.approx(0.942, abs=5e-4)


def test_labels_are_not_needed():
    logits = np.array([[2.0, -1.0], [0.5, 3.0]])

    without = AsymmetricLossCorrection().fit(logits, np.zeros((2, 2), int))

    histogram = ScoreHistogram.of(labelled_logits(logits, np.eye(2)))
    assert without.op_.same_as(AsymmetricLossCorrection().fit_from(histogram).op_)
    assert without.findings_ == ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"gamma_pos": -1.0}, ValueError, r"gamma_pos must be at least 0 and finite, got -1\.0"),
        ({"gamma_neg": np.nan}, ValueError, "gamma_neg must be at least 0 and finite, got nan"),
        ({"clip": 1.0}, ValueError, r"clip must be at least 0 and below 1, got 1\.0"),
        ({"clip": None}, TypeError, "clip must be a number, got None"),
        ({"detached": 1}, TypeError, "detached must be True or False, got 1"),
    ],
)
def test_what_no_asymmetric_loss_has_is_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        AsymmetricLossCorrection(**options).fit(np.zeros((1, 1)), [[0]])

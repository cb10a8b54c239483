"""Which figures of ranking a strictly increasing map can change, and which it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibrate.decision import Decision
from calibrate.evaluation import evaluate
from calibrate.metrics import f_beta
from calibrate.ops import Affine, Threshold
from calibrate.rules.per_class_threshold import PerClassThreshold

# each is strictly increasing, and exact in float32 on the whole numbers from -4 to 4
MAPS = [
    lambda z: z,
    lambda z: 2 * z - 3,
    lambda z: 0.25 * z + 5,
    lambda z: z**3,
    lambda z: np.float32(2) ** z,
]

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")
seeded = settings(deadline=None, derandomize=True, max_examples=100)


@st.composite
def ranked_rows(draw):
    """Logits on a grid of whole numbers, and labels."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    grid = st.integers(-4, 4).map(float)
    return draw(arrays(np.float32, shape, elements=grid)), draw(arrays(np.bool_, shape))


def never(n_classes):
    return Decision((), Threshold(np.float32(np.inf)), n_classes)


def average_precisions(logits, labels):
    evaluation = evaluate(never(labels.shape[1]), logits, labels)
    summary = evaluation.summary
    names = ("macro_ap", "micro_ap", "instance_ap")
    return [summary[name] for name in names], evaluation.per_class["average_precision"]


@seeded
@given(rows=ranked_rows(), data=st.data())
def test_a_map_per_class_leaves_macro_ap_and_the_ap_of_each_class(rows, data):
    logits, labels = rows
    chosen = [data.draw(st.sampled_from(MAPS)) for _ in range(labels.shape[1])]
    mapped = np.stack([f(logits[:, c]) for c, f in enumerate(chosen)], axis=1)

    (macro, _, _), by_class = average_precisions(logits, labels)
    (macro_after, _, _), by_class_after = average_precisions(mapped, labels)

    np.testing.assert_array_equal(macro_after, macro)
    np.testing.assert_array_equal(by_class_after, by_class)


@seeded
@given(rows=ranked_rows(), the_map=st.sampled_from(MAPS))
def test_one_map_for_all_classes_leaves_all_three(rows, the_map):
    logits, labels = rows

    before, _ = average_precisions(logits, labels)
    after, _ = average_precisions(the_map(logits), labels)

    np.testing.assert_array_equal(after, before)


@seeded
@given(rows=ranked_rows(), data=st.data())
def test_a_map_per_row_leaves_instance_ap(rows, data):
    logits, labels = rows
    mapped = np.stack([data.draw(st.sampled_from(MAPS))(row) for row in logits])

    (_, _, instance), _ = average_precisions(logits, labels)
    (_, _, instance_after), _ = average_precisions(mapped, labels)

    np.testing.assert_array_equal(instance_after, instance)


@pytest.mark.parametrize(
    ("shift", "micro", "instance"), [(0.0, 5 / 6, 0.75), (2.0, 1.0, 1.0), (9.0, 5 / 6, 0.75)]
)
def test_a_map_per_class_can_raise_and_lower_micro_and_instance_ap(shift, micro, instance):
    logits = np.float32([[3.0, 2.0], [4.0, 1.0]])
    labels = np.array([[False, True], [True, False]])
    # shifted by 2, the positive of class 1 passes the negative of its row; shifted by 9, its
    # negative passes the positive of the other row too
    step = Affine(np.ones(2), np.float32([0.0, shift]))

    summary = evaluate(Decision((step,), Threshold(np.float32(9)), 2), logits, labels).summary

    assert summary["micro_ap"] == pytest.approx(micro)
    assert summary["instance_ap"] == pytest.approx(instance)
    assert summary["macro_ap"] == 1.0


def test_a_map_per_row_can_change_macro_and_micro_ap():
    logits = np.float32([[1.0], [2.0]])
    labels = np.array([[True], [False]])

    (macro, micro, _), _ = average_precisions(logits, labels)
    (macro_after, micro_after, _), _ = average_precisions(np.add(logits, [[2], [0]]), labels)

    assert (macro, micro) == (0.5, 0.5)
    assert (macro_after, micro_after) == (1.0, 1.0)


@pytest.mark.filterwarnings("ignore:PerClassThreshold")
@seeded
@given(rows=ranked_rows(), data=st.data())
def test_what_thresholds_per_class_reach_is_the_same_after_a_map_per_class(rows, data):
    logits, labels = rows
    labels[0, 0] = True
    chosen = [data.draw(st.sampled_from(MAPS)) for _ in range(labels.shape[1])]
    mapped = np.stack([f(logits[:, c]) for c, f in enumerate(chosen)], axis=1)
    reached = []

    for z in (logits, mapped):
        threshold = PerClassThreshold(f_beta(1)).fit(z, labels).op_
        decision = Decision((), threshold, labels.shape[1])
        reached.append(evaluate(decision, z, labels, ranking=False).summary["macro_f"])

    assert reached[0] == reached[1]

"""Pictures: what is drawn is what the report holds."""

from __future__ import annotations

import numpy as np
import pytest
from reported import HOSTILE, fitted, world

import calibrate as cal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


@pytest.fixture(scope="module")
def report():
    logits, labels = world()
    return cal.threshold_report(fitted(), logits[800:], labels[800:])


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_reliability_shows_the_groups_and_their_band(report, ax):
    assert cal.plot.reliability(report, ax=ax) is ax

    pooled = report.overview["reliability"]
    drawn = ax.lines[-1].get_xydata()
    np.testing.assert_allclose(drawn, np.stack([pooled["p"], pooled["rate"]], axis=1))
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(max(pooled["high"]))


def test_reliability_of_a_class_is_its_own(report, ax):
    cal.plot.reliability(report, "class 1", ax=ax)

    groups = report.as_dict()["curves"][1]["reliability"]
    assert ax.lines[-1].get_xdata().tolist() == groups["p"]
    assert ax.lines[-1].get_label() == "class 1"


def test_precision_and_recall_meet_the_point_where_the_rule_works(report, ax):
    cal.plot.precision_recall(report, 0, ax=ax, color="red")

    curve, works = ax.lines
    plain = report.as_dict()["curves"][0]
    support = report.per_class["support"][0]
    np.testing.assert_allclose(curve.get_xdata(), np.array(plain["tp"]) / support)
    np.testing.assert_allclose(
        curve.get_ydata(), np.array(plain["tp"]) / np.array(plain["predicted"])
    )
    assert works.get_xydata().tolist() == [
        [report.per_class["recall"][0], report.per_class["precision"][0]]
    ]
    assert curve.get_color() == works.get_color() == "red"


def test_ratios_are_drawn_where_logarithms_are(report, ax):
    assert cal.plot.ratio_against_frequency(report, ax=ax) is ax

    for drawn, name in zip(ax.collections, ("count_ratio_before", "count_ratio"), strict=True):
        ratio, support = report.per_class[name], report.per_class["support"]
        shown = (support > 0) & (ratio > 0)
        expected = np.stack([support[shown], ratio[shown]], axis=1)
        np.testing.assert_allclose(np.asarray(drawn.get_offsets()), expected)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_trade_off_has_the_threshold_of_the_rule(report, ax):
    cal.plot.threshold_trade_off(report, "class 0", ax=ax)

    precision, recall, f, works = ax.lines
    assert [line.get_label() for line in ax.lines] == ["precision", "recall", "F1", "threshold"]
    assert works.get_xdata()[0] == report.per_class["threshold"][0]
    p, r = precision.get_ydata(), recall.get_ydata()
    some = p + r > 0
    np.testing.assert_allclose(f.get_ydata()[some], (2 * p * r / (p + r))[some])


def test_axes_of_its_own_are_made_where_none_are_given(report):
    ax = cal.plot.ratio_against_frequency(report)

    assert ax.figure.axes == [ax]
    plt.close(ax.figure)


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("label", HOSTILE)
def test_any_class_name_can_be_drawn(report, ax, label):
    cal.plot.threshold_trade_off(report, label, ax=ax)
    cal.plot.precision_recall(report, label, ax=ax)

    ax.figure.canvas.draw()
    assert len(ax.get_legend().get_texts()) >= 4


@pytest.mark.parametrize(
    ("label", "said"), [("jazz", "got 'jazz'"), (40, "got 40"), (-1, "got -1")]
)
def test_a_class_that_is_not_there_is_refused(report, ax, label, said):
    with pytest.raises(ValueError, match=said):
        cal.plot.threshold_trade_off(report, label, ax=ax)


def test_without_matplotlib_one_sentence_says_what_to_install(report, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)

    with pytest.raises(ImportError, match=r'pip install "calibrate-multilabel\[report\]"'):
        cal.plot.ratio_against_frequency(report)

"""What the plots draw is what the report says."""

from __future__ import annotations

import numpy as np
import pytest
from reported import names

from calibrate.report.html import COLUMNS


def rounded(report, name):
    """A column as the page holds it, with the digits it shows."""
    digits = COLUMNS[name][1]
    return [float(f"{value:.{digits}f}") for value in report.per_class[name].tolist()]


def drawn(page, number, host="#overview"):
    found = page.drawn(number, host)
    return found, [data for _, data in found["glyphs"]]


def test_every_class_with_labels_is_a_point_before_and_after(shared, report):
    support = report.per_class["support"]
    some = np.flatnonzero(support > 0)
    ratios = {
        name: np.array(rounded(report, name))[some]
        for name in ("count_ratio_before", "count_ratio")
    }
    bottom = min(values[values > 0].min() for values in ratios.values()) / 2

    found, (before, after) = drawn(shared, 0)

    for data, name in ((before, "count_ratio_before"), (after, "count_ratio")):
        values = ratios[name]
        assert data["x"] == support[some].tolist()
        assert data["y"] == np.where(values > 0, values, bottom).tolist()
        assert data["name"] == [names()[c] for c in some]
    assert (ratios["count_ratio"] == 0).any()
    assert found["spans"] == [1]


def test_classes_lie_by_their_rank(shared, report):
    per_class = report.per_class
    support = per_class["support"]
    ranked = sorted(np.flatnonzero(support), key=lambda c: (-support[c], c))

    _, (before, after, true) = drawn(shared, 1)

    for data, name in ((before, "predicted_before"), (after, "predicted")):
        assert data["x"] == list(range(1, len(ranked) + 1))
        assert data["y"] == np.maximum(per_class[name][ranked], 0.5).tolist()
        assert data["name"] == [names()[c] for c in ranked]
    assert true == {"x": before["x"], "y": support[ranked].tolist()}


def test_the_diagram_is_drawn_in_its_band(shared, report):
    groups = report.overview["reliability"]

    found, (band, line, dots, diagonal) = drawn(shared, 2)

    values = np.array([groups[name] for name in ("p", "rate", "high")])
    least, most = values[values > 0].min() / 1.5, min(1, values.max() * 1.5)
    assert band == {
        "x": groups["p"],
        "low": np.maximum(groups["low"], least).tolist(),
        "high": np.maximum(groups["high"], least).tolist(),
    }
    assert line == dots == {"x": groups["p"], "y": np.maximum(groups["rate"], least).tolist()}
    assert list(diagonal.values()) == [[least, most]] * 2
    assert found["ends"] == [[least, most]] * 2


def test_labels_per_row_are_drawn_with_their_spread(shared, report):
    rows = report.overview["labels_of_rows"]

    _, (band, before, after, dots, diagonal) = drawn(shared, 3)

    true = [group["true"] for group in rows]
    assert band == {
        "x": true,
        "low": [group["after_10_percent"] for group in rows],
        "high": [group["after_90_percent"] for group in rows],
    }
    assert before == {"x": true, "y": [group["before"] for group in rows]}
    assert after == dots == {"x": true, "y": [group["after"] for group in rows]}
    assert list(diagonal.values()) == [[0, max(true)]] * 2


def test_groups_of_frequency_lie_in_the_middle_of_their_bounds(shared, report):
    groups = [group for group in report.overview["by_frequency"] if group["f"] is not None]

    found, (before, _, after, _) = drawn(shared, 4)

    middle = [np.sqrt(group["from"] * group["to"]) for group in groups]
    for data, name in ((before, "f_before"), (after, "f")):
        assert data["x"] == pytest.approx(middle)
        assert data["y"] == [group[name] for group in groups]
    assert found["ends"][1] == [-0.02, 1.02]


def test_the_curves_of_a_class_follow_its_numbers_and_the_slider(opened, report):
    c, per_class = 3, report.per_class
    opened.open(c, names()[c])
    place = int(opened.page.input_value("#slider")) + 4

    opened.slide(place)

    numbers = opened.numbers("Precision and recall", "#plots")
    _, (line, rule, ring) = drawn(opened, 0, "#plots")
    assert [
        [f"{x:.4f}", "none" if y is None else f"{y:.4f}"]
        for x, y in zip(*line.values(), strict=True)
    ] == [[row[3], row[2]] for row in numbers]
    assert [value for (value,) in rule.values()] == [
        float(f"{per_class[name][c]:.4f}") for name in ("recall", "precision")
    ]
    assert [f"{value:.4f}" for (value,) in ring.values()] == [numbers[place][3], numbers[place][2]]
    _, lines = drawn(opened, 1, "#plots")
    for data, column in zip(lines, (2, 3, 4), strict=True):
        assert ["never" if x is None else f"{x:.3f}" for x in data["x"]] == [r[0] for r in numbers]
        assert ["none" if y is None else f"{y:.4f}" for y in data["y"]] == [
            row[column] for row in numbers
        ]
    for number in (1, 3):
        (location,) = drawn(opened, number, "#plots")[0]["spans"]
        assert f"{location:.3f}" == numbers[place][0]


def test_the_bars_of_a_class_are_shares_of_its_positives_and_of_its_negatives(shared, report):
    c = 1
    shared.open(c, names()[c])
    rows = shared.numbers("Scores of true and other labels", "#plots")

    _, (negatives, positives) = drawn(shared, 3, "#plots")

    for data, column in ((negatives, 2), (positives, 3)):
        counts = np.array([int(row[column]) for row in rows])
        assert data["top"] == pytest.approx((counts / counts.sum()).tolist())
        assert set(data["bottom"]) == {0}
        for ends, edge in ((data["left"], 0), (data["right"], 1)):
            assert [f"{value:.3f}" for value in ends] == [row[edge] for row in rows]


def test_ticks_of_logarithmic_axes_are_one_two_five(shared):
    for number in (0, 1):
        found, glyphs = drawn(shared, number)
        for ticks, axis in zip(found["ticks"], "xy", strict=True):
            values = [value for data in glyphs for value in data[axis]]
            least, most = min(values), max(values)
            steps = (1, 2, 5) if np.log10(most / least) < 2.5 else (1,)

            expected = [float(f"{step}e{power}") for power in range(-4, 5) for step in steps]

            first = expected.index(10.0 ** np.floor(np.log10(least)))
            assert ticks == expected[first : first + len(ticks)]
            assert ticks[-1] >= most

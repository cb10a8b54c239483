"""Pipelines side by side, on rows that were not fitted."""

from __future__ import annotations

import numpy as np
import pytest

import calibrate as cal
from calibrate.comparison import compare, compare_cross_fitted, split_rows, standard_pipelines
from calibrate.metrics import f_beta


def example(n_rows: int = 400, n_classes: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.4, 0.05, n_classes)
    logits = 1.5 * labels + rng.normal(size=labels.shape)
    return logits.astype(np.float32), labels


def test_each_pipeline_is_fitted_on_one_part_and_judged_on_the_other():
    logits, labels = example()
    fit, test = (cal.labelled_logits(logits[s], labels[s]) for s in np.split(np.arange(400), 2))
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(f_beta(1)))

    found = compare(fit, test, {"one": pipeline})

    alone = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(f_beta(1)))
    alone.fit(logits[:200], labels[:200])
    expected = cal.evaluate(
        alone, logits[200:], labels[200:], ranking=False, frequency=labels[:200].sum(axis=0)
    )
    for name in ("macro_f", "micro_f", "instance_f", "count_ratio", "count_ratio_rare"):
        assert found.rows["one"][name] == expected.summary[name]
    assert (found.n_fit, found.n_test) == (200, 200)


def test_thirds_are_those_of_the_fitting_rows():
    logits, labels = example()
    fit_labels, test_labels = labels[:200].copy(), labels[200:].copy()
    fit_labels[:, 0] = False
    fit_labels[0, 0] = True  # rare where fitted, frequent where tested
    fit = cal.labelled_logits(logits[:200], fit_labels)
    test = cal.labelled_logits(logits[200:], test_labels)

    ratio = compare(fit, test, {"half": cal.Pipeline([], cal.FixedThreshold())}).rows["half"]

    rare = np.argsort(fit_labels.sum(axis=0), kind="stable")[:2]
    assert 0 in rare
    expected = (logits[200:][:, rare] >= 0).sum() / test_labels[:, rare].sum()
    assert ratio["count_ratio_rare"] == pytest.approx(expected)


def test_a_split_puts_every_row_on_one_side():
    logits, labels = example(101)
    logits[:, 0] = np.arange(101)

    fit, test = split_rows(cal.labelled_logits(logits, labels), test_fraction=0.3, seed=4)

    numbers = [np.concatenate([b.scores[:, 0] for b in part.blocks()]) for part in (fit, test)]
    assert [len(part) for part in numbers] == [71, 30]
    assert sorted(np.concatenate(numbers)) == list(range(101))
    assert test.labels.n_labels == labels[numbers[1].astype(int)].sum()


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_split_with_an_empty_side_is_refused(fraction):
    with pytest.raises(ValueError, match="a split needs rows on both sides"):
        split_rows(cal.labelled_logits(*example(20)), test_fraction=fraction)


def test_other_classes_are_refused():
    logits, labels = example()
    fit = cal.labelled_logits(logits, labels)
    test = cal.labelled_logits(logits[:, :5], labels[:, :5])

    with pytest.raises(ValueError, match="the 6 classes of the fitting rows, got 5"):
        compare(fit, test, standard_pipelines(1.5))


def test_weights_add_the_corrected_pipeline():
    without, with_weights = standard_pipelines(2.0), standard_pipelines(2.0, np.ones(6))

    assert set(with_weights) - set(without) == {"z - log w, cut at 0.5"}
    assert with_weights["top-k"].rule.k == 2


def test_the_tables_show_what_the_figures_say():
    rows = cal.labelled_logits(*example())
    found = compare(rows, rows, {"half": cal.Pipeline([], cal.FixedThreshold())})

    figures = found.table().splitlines()[1].split()[1:]
    cells = [cell.strip() for cell in found.markdown().splitlines()[2].split("|")[2:-1]]

    assert figures == cells
    assert float(figures[0]) == pytest.approx(found.rows["half"]["macro_f"], abs=5e-5)
    assert found.as_dict()["pipelines"]["half"]["macro_ap"] is None
    assert found.n_left_out == 0


def test_the_differences_from_the_first_are_paired():
    logits, labels = example()
    fit, test = (cal.labelled_logits(logits[s], labels[s]) for s in np.split(np.arange(400), 2))
    pipelines = {str(cut): cal.Pipeline([], cal.FixedThreshold(cut)) for cut in (0.0, 0.5, 1.0)}

    found = compare(fit, test, pipelines)

    first, second, _ = (
        cal.evaluate(found.decisions[name], test, ranking=False) for name in pipelines
    )
    assert list(found.differences) == ["0.5", "1.0"]
    assert found.differences["0.5"] == cal.paired_differences(second, first)
    assert found.intervals == {
        name: cal.evaluate(decision, test).intervals for name, decision in found.decisions.items()
    }
    exact = found.differences["0.5"]["macro_f"]
    shown, reach = found.difference_table().splitlines()[1].split()[1:3]
    assert float(shown) == pytest.approx(exact.estimate, abs=5e-5)
    assert float(reach[1:]) == pytest.approx(exact.high - exact.estimate, abs=5e-5)
    cells = [cell.strip() for cell in found.difference_markdown().splitlines()[2].split("|")[1:-1]]
    assert cells[:2] == ["0.5", f"{shown} {reach}"]
    plain = found.as_dict()
    assert plain["level"] == 0.95
    assert plain["differences_from_first"]["0.5"]["macro_f"] == exact._asdict()


def test_a_single_pipeline_differs_from_nothing():
    rows = cal.labelled_logits(*example())

    found = compare(rows, rows, {"half": cal.Pipeline([], cal.FixedThreshold())})

    assert found.differences == {}
    assert found.difference_table() == found.difference_markdown() == ""


def test_the_pipelines_given_stay_unfitted_and_their_decisions_are_at_hand():
    logits, labels = example()
    rows = cal.labelled_logits(logits, labels)
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())

    found = compare(rows, rows, {"one": pipeline})

    assert not hasattr(pipeline, "decision_")
    expected = pipeline.fit(logits, labels).predict(logits)
    assert (found.decisions["one"].predict(logits) != expected).nnz == 0


def test_optimism_is_that_of_the_fitting_rows_over_the_others():
    logits, labels = example()
    fit, test = (cal.labelled_logits(logits[s], labels[s]) for s in np.split(np.arange(400), 2))
    pipeline = cal.Pipeline([], cal.PerClassThreshold(f_beta(1)))

    found = compare(fit, test, {"one": pipeline}, in_sample=True)

    alone = cal.evaluate(found.decisions["one"], fit, ranking=False).summary
    for name in ("macro_f", "count_ratio", "count_ratio_rare", "log_loss"):
        assert found.optimism["one"][name] == alone[name] - found.rows["one"][name]
    assert "n_rows" not in found.optimism["one"]
    line = found.of_optimism().table().splitlines()[1].split()
    assert float(line[1]) == pytest.approx(found.optimism["one"]["macro_f"], abs=5e-5)
    assert compare(fit, test, {"one": pipeline}).optimism == {}


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_cross_fitted_figures_are_those_of_each_pipeline_alone():
    rows = cal.labelled_logits(*example())
    pipelines = standard_pipelines(1.4, np.ones(6))
    groups = np.arange(400) // 5

    found = compare_cross_fitted(rows, pipelines, folds=4, groups=groups, seed=3, beta=2.0)

    for name, pipeline in pipelines.items():
        alone = cal.cross_fit(pipeline, rows, folds=4, groups=groups, seed=3, beta=2.0)
        assert found.rows[name] == pytest.approx(alone.out_of_sample.summary, nan_ok=True)
        assert found.optimism[name] == pytest.approx(alone.optimism, nan_ok=True)
        assert found.decisions[name].rule.same_as(alone.decision.rule)
        assert not hasattr(pipeline, "decision_")
    assert (found.n_fit, found.n_test, found.folds) == (400, 400, 4)

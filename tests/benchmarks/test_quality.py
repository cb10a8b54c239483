"""The table of decisions at a tiny size, and that its figures and verdicts say what they must."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import quality
from scipy import sparse
from scipy.special import expit
from sklearn.metrics import f1_score
from suite import peer_deciders, quality_report
from suite.deciders import OBJECTIVES, OURS, PLAIN
from suite.decision_quality import Difference, distance, distance_difference, evaluated, figures
from suite.given import Given, Scores
from suite.kept import Kept, Outcome
from suite.peer_deciders import PEERS, PeerDecider
from suite.peers.libmultilabel import FLOORS, FOLDS, micro_macro, scut_fbr
from suite.saved import SavedNetwork

import calibrate as cal
from calibrate.data import labelled_logits

WEIGHTS = np.linspace(4, 40, 12)
LOOP = "scikit-learn PR-curve loop"
EMPTY = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A network whose logits are right but for its weights, and a softmax; one class is empty."""
    random = np.random.default_rng(0)
    dataset = tmp_path_factory.mktemp("logits") / "tiny"
    dataset.mkdir()
    np.save(dataset / "pos_weight.npy", WEIGHTS)
    for part, n_rows in (("val", 400), ("test", 300)):
        truth = random.normal(0, 2, (n_rows, len(WEIGHTS))) - np.log(WEIGHTS)
        labels = random.random(truth.shape) < expit(truth)
        labels[:, EMPTY] = False
        np.save(dataset / f"weighted_{part}.npy", (truth + np.log(WEIGHTS)).astype(np.float32))
        np.save(dataset / f"softmax_{part}.npy", truth.astype(np.float32))
        sparse.save_npz(dataset / f"labels_{part}.npz", sparse.csr_array(labels))
    return dataset.parent


def test_each_objective_is_judged_on_the_test_rows_beside_all_that_was_run(
    folder: Path, tmp_path: Path, capsys
):
    quality.main([str(folder), "--methods", LOOP, "--output", str(tmp_path), "--full"])

    record = json.loads((tmp_path / "tiny-weighted.json").read_text())
    assert set(record["figures"]) == {*PLAIN, *OURS, LOOP}
    network = SavedNetwork(folder / "tiny", "weighted")
    pipeline = cal.objectives.micro_f1.pipeline(cal.HierarchicalScaling(WEIGHTS))
    with pytest.warns(cal.FitWarning):
        pipeline.fit(network.logits("val"), network.labels("val"))
    predicted = pipeline.predict(network.logits("test")).toarray()
    micro = f1_score(network.labels("test"), predicted, average="micro")
    assert record["figures"]["one cut"]["micro_f"] == pytest.approx(micro)
    for objective in OBJECTIVES:
        by = record["differences"][objective.name]
        assert set(by) == set(record["figures"]) - {objective.default}
        assert by["raw cut at 0.5"]["verdict"] == "best"
    softmax = json.loads((tmp_path / "tiny-softmax.json").read_text())
    assert "z - log w cut at 0.5" not in softmax["figures"]
    printed = capsys.readouterr().out
    assert f"**{micro:.4f}**" in printed
    assert "tiny/softmax, 400 x 12:" in printed


def test_labels_that_are_kept_are_judged_without_the_peer(
    folder: Path, tmp_path: Path, monkeypatch
):
    arguments = [str(folder), "--networks", "tiny/weighted", "--output", str(tmp_path)]
    quality.main([*arguments, "--methods", LOOP])
    first = (tmp_path / "tiny-weighted.json").read_text()

    def never(scores: Scores):
        raise AssertionError("it was run again")

    monkeypatch.setattr(quality, "PEERS", {LOOP: replace(PEERS[LOOP], decide=never)})
    for methods in (LOOP, ""):
        quality.main([*arguments, "--methods", methods])
        assert (tmp_path / "tiny-weighted.json").read_text() == first

    monkeypatch.setattr(peer_deciders.metadata, "version", lambda package: "another")
    quality.main([*arguments, "--methods", LOOP])

    record = json.loads((tmp_path / "tiny-weighted.json").read_text())
    assert record["failed"] == {LOOP: "AssertionError: it was run again"}
    assert LOOP not in record["figures"]


def test_networks_that_were_judged_with_other_defaults_are_left_out(
    folder: Path, tmp_path: Path, monkeypatch, capsys
):
    arguments = [str(folder), "--methods", "", "--output", str(tmp_path), "--networks"]
    quality.main([*arguments, "tiny/softmax"])
    macro = replace(OBJECTIVES[0], default="one cut")
    monkeypatch.setattr(quality, "OBJECTIVES", (macro, *OBJECTIVES[1:]))
    monkeypatch.setattr(quality_report, "OBJECTIVES", (macro, *OBJECTIVES[1:]))

    quality.main([*arguments, "tiny/weighted"])

    printed = capsys.readouterr()
    assert "macro-F1, ours by `one cut`" in printed.out
    assert "tiny/softmax" not in printed.out.split("macro-F1, ours by `one cut`")[1]
    assert "tiny/softmax was judged with other defaults" in printed.err


def test_other_scores_are_another_key():
    scores = Scores(np.zeros((3, 2), np.float32), np.eye(3, 2) > 0, np.zeros((4, 2), np.float32))

    digests = {
        one.digest
        for one in (
            scores,
            scores._replace(fit=scores.fit + 1),
            scores._replace(labels=~scores.labels),
            scores._replace(test=scores.test + 1),
        )
    }

    assert len(digests) == 4


def test_a_peer_that_is_missing_is_said(folder: Path, capsys, monkeypatch):
    monkeypatch.setattr(
        quality, "PEERS", {LOOP: PeerDecider(_from_nowhere, "no-such-distribution")}
    )

    quality.main([str(folder), "--networks", "tiny/softmax", "--methods", LOOP])

    printed = capsys.readouterr().out
    assert f"{LOOP} could not be had: ModuleNotFoundError" in printed
    assert "tiny/weighted" not in printed
    with pytest.raises(SystemExit, match="no network tiny/focal"):
        quality.main([str(folder), "--networks", "tiny/focal"])
    with pytest.raises(SystemExit, match="2"):
        quality.main([str(folder), "--methods", "astrology"])
    with pytest.raises(SystemExit, match="no folder"):
        quality.main([str(folder / "nowhere")])


def _from_nowhere(scores: Scores):
    raise ModuleNotFoundError("No module named 'peer'")


def test_a_peer_that_is_not_finished_is_said_and_tried_again_only_with_more_time(
    folder: Path, tmp_path: Path, monkeypatch, capsys
):
    runs = []

    def endless(scores: Scores):
        runs.append(1)
        while True:
            try:
                sum(range(1000))
            except Exception:  # as some libraries do
                continue

    monkeypatch.setattr(quality, "PEERS", {LOOP: PeerDecider(endless, "scikit-learn")})
    arguments = [str(folder), "--networks", "tiny/weighted", "--output", str(tmp_path)]

    for seconds in ("0.05", "0.05", "0.1"):
        quality.main([*arguments, "--full", "--peer-seconds", seconds])

    assert len(runs) == 2
    assert f"| {LOOP}: not finished in 0.1 s | - |" in capsys.readouterr().out


def test_outcomes_come_back_as_they_were_kept(tmp_path: Path):
    kept = Kept(tmp_path)
    labels = sparse.csr_array(np.eye(3, 5) > 0)

    kept.keep("tiny/weighted", "A peer (calibrated)", "key", Outcome(labels, 1.5))
    kept.keep("tiny/weighted", "a slow peer", "key", Outcome(None, 2.0))

    back = kept.outcome("tiny/weighted", "A peer (calibrated)", "key")
    assert back is not None
    assert back.seconds == 1.5
    np.testing.assert_array_equal(back.labels.toarray(), labels.toarray())
    assert back.serves(100.0)
    slow = kept.outcome("tiny/weighted", "a slow peer", "key")
    assert slow == Outcome(None, 2.0)
    assert slow.serves(2.0)
    assert not slow.serves(2.1)
    assert kept.outcome("tiny/weighted", "a slow peer", "another key") is None
    assert kept.outcome("tiny/softmax", "a slow peer", "key") is None


def can_be_had(peer) -> bool:
    """Whether its package is there: what the tests install has scikit-learn alone."""
    try:
        peer.version()
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if can_be_had(peer)])
def test_a_class_without_fitting_labels_is_never_predicted(name: str, folder: Path):
    peer = PEERS[name]

    with quality.quiet():
        outcome = peer.run(Given(SavedNetwork(folder / "tiny", "weighted")), 100.0)

    assert outcome.labels.shape == (300, len(WEIGHTS))
    by_class = outcome.labels.sum(axis=0)
    assert by_class[EMPTY] == 0
    assert by_class.sum() > 0 or name.startswith("MAPIE precision")


@pytest.mark.parametrize("block_cells", [70, 1 << 20])
def test_figures_are_those_of_their_definitions(block_cells: int, monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", block_cells)
    random = np.random.default_rng(1)
    truth, predicted = random.random((2, 50, 7)) < 0.2
    truth[:, 4] = False
    frequency = np.array([7, 1, 2, 3, 4, 5, 6])
    rows = labelled_logits(np.zeros((50, 7), np.float32), truth)

    found = figures(evaluated(predicted, rows, frequency), frequency)

    by_class = f1_score(truth, predicted, average=None, zero_division=0.0)
    assert found["macro_f"] == pytest.approx(by_class[[0, 1, 2, 3, 5, 6]].mean())
    assert found["macro_f_rare"] == pytest.approx(by_class[[1, 2, 3]].mean())
    assert found["macro_f_middle"] == pytest.approx(by_class[[5]].mean())
    assert found["macro_f_frequent"] == pytest.approx(by_class[[0, 6]].mean())
    assert found["micro_f"] == pytest.approx(f1_score(truth, predicted, average="micro"))
    nothing = ~truth.any(axis=1) & ~predicted.any(axis=1)
    by_row = f1_score(truth, predicted, average="samples", zero_division=0.0) + nothing.mean()
    assert found["instance_f"] == pytest.approx(by_row)
    assert found["count_ratio"] == pytest.approx(predicted.sum() / truth.sum())
    rare = [1, 2, 3]
    assert found["count_ratio_rare"] == pytest.approx(
        predicted[:, rare].sum() / truth[:, rare].sum()
    )


def _with_counts(random: np.random.Generator, truth: np.ndarray, ratio: float) -> np.ndarray:
    """Labels of which about so many as are true are predicted."""
    return random.random(truth.shape) < ratio * truth.mean()


def _judged(predicted: np.ndarray, truth: np.ndarray):
    rows = labelled_logits(np.zeros(truth.shape, np.float32), truth)
    return evaluated(predicted, rows, truth.sum(axis=0))


def test_the_nearer_count_is_best_on_either_side_of_1():
    random = np.random.default_rng(2)
    truth = random.random((2000, 10)) < 0.2
    near, below, above = (
        _judged(_with_counts(random, truth, ratio), truth) for ratio in (0.9, 0.6, 1.6)
    )
    nothing = _judged(np.zeros_like(truth), truth)

    for other in (below, above, nothing):
        assert Difference.between(near, other, "count_ratio").verdict == "best"
        assert Difference.between(other, near, "count_ratio").verdict == "worse"
    by = distance_difference(below, near)
    ratios = [one.summary["count_ratio"] for one in (below, near)]
    assert by.estimate == pytest.approx(math.log(ratios[1]) - math.log(ratios[0]))
    added = [one.influence["count_ratio"] / r for one, r in zip((below, near), ratios, strict=True)]
    reach = 1.959964 * (added[1] - added[0]).std(ddof=1) / math.sqrt(2000)
    assert by.high == pytest.approx(by.estimate + reach)
    assert by.low == pytest.approx(by.estimate - reach)
    assert distance_difference(nothing, nothing) == (0, 0, 0)
    assert distance(0.5) == pytest.approx(distance(2.0))


def test_of_two_counts_that_may_both_be_right_neither_is_better():
    """The plain interval would call one of them better far more often than it may."""
    random = np.random.default_rng(3)
    verdicts = []
    for _ in range(100):
        truth = random.random((100, 10)) < 0.2
        ours, other = (_judged(_with_counts(random, truth, 1.0), truth) for _ in range(2))
        verdicts.append(Difference.between(ours, other, "count_ratio").verdict)

    assert verdicts.count("tied") >= 95


def test_the_higher_f1_is_best():
    random = np.random.default_rng(4)
    truth = random.random((500, 5)) < 0.3
    good, bad = (_judged(truth ^ (random.random(truth.shape) < r), truth) for r in (0.1, 0.3))

    for figure in ("macro_f", "micro_f", "instance_f"):
        assert Difference.between(good, bad, figure).verdict == "best"
        assert Difference.between(bad, good, figure).verdict == "worse"
        assert Difference.between(good, good, figure).verdict == "tied"


def _naive_folds(n_rows: int, random: np.random.Generator) -> list[np.ndarray]:
    return np.array_split(random.permutation(n_rows), FOLDS)


def _naive_cut(scores: np.ndarray, truth: np.ndarray, value) -> tuple[float, int, int]:
    """The highest of the cuts of highest value: cut, true positives, predictions."""
    levels = sorted(set(scores.tolist()))
    cuts = [np.nextafter(levels[0], -np.inf)]
    cuts += [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    cuts.append(np.nextafter(levels[-1], np.inf))
    best = None
    for cut in cuts:
        tp, predicted = int((truth & (scores > cut)).sum()), int((scores > cut).sum())
        found = value(tp, predicted + int(truth.sum()))
        if best is None or found >= best[0]:
            best = (found, cut, tp, predicted)
    return best[1:]


def _f1(tp: float, size: float) -> float:
    return 2 * tp / size if size else 0.0


def _naive_floored(scores, truth, floor, folds) -> float:
    cuts = []
    for rows in folds:
        cut, tp, predicted = _naive_cut(scores[rows], truth[rows], _f1)
        f1 = _f1(tp, predicted + truth[rows].sum())
        cuts.append(cut if f1 > floor else scores[rows].max())
    return float(np.mean(cuts))


def _case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some ties, and a class with a single positive."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(40, 4)).round(1 if seed % 2 else 6)
    labels = random.random(scores.shape) < expit(2 * scores - 1)
    labels[:, 2] = False
    labels[seed, 2] = True
    return scores, labels


@pytest.mark.parametrize("seed", range(6))
def test_scut_fbr_is_what_a_loop_over_the_classes_gives(seed: int):
    scores, labels = _case(seed)
    random = np.random.default_rng(0)
    outer = _naive_folds(len(scores), random)
    inner = []
    for rows in outer:
        others = np.concatenate([part for part in outer if part is not rows])
        inner.append((rows, others, _naive_folds(len(others), random)))
    last = _naive_folds(len(scores), random)

    made = scut_fbr(scores, labels)

    for c in range(scores.shape[1]):
        z, y = scores[:, c], labels[:, c]
        total = []
        for floor in FLOORS:
            found = 0.0
            for rows, others, folds in inner:
                cut = _naive_floored(z[others], y[others], floor, folds)
                predicted = z[rows] > cut
                found += _f1((predicted & y[rows]).sum(), predicted.sum() + y[rows].sum())
            total.append(found)
        best = max(range(len(FLOORS)), key=lambda place: (total[place], place))
        floor = FLOORS[best] if max(total) > 0 else FLOORS[0]
        assert made[c] == pytest.approx(_naive_floored(z, y, floor, last))


@pytest.mark.parametrize("seed", range(6))
def test_micro_macro_is_what_a_loop_over_the_classes_gives(seed: int):
    scores, labels = _case(seed)
    folds = _naive_folds(len(scores), np.random.default_rng(0))

    made = micro_macro(scores, labels)

    tp = size = 0
    for n_classes, c in enumerate(np.argsort(-labels.sum(axis=0), kind="stable"), 1):

        def value(here: int, of: int, before=(tp, size), n_classes=n_classes) -> float:
            return _f1(here + before[0], of + before[1]) + _f1(here, of) / n_classes

        cuts = [_naive_cut(scores[rows, c], labels[rows, c], value) for rows in folds]
        assert made[c] == pytest.approx(np.mean([cut[0] for cut in cuts]))
        tp += sum(cut[1] for cut in cuts)
        size += sum(cut[2] for cut in cuts) + int(labels[:, c].sum())


def _record(ours: float, other: float, verdict: str) -> dict:
    """Every figure is `ours` for our methods, and `other` for the loop."""
    names = [*quality_report._FULL, "instance_precision", "instance_recall"]
    return {
        "network": "tiny/weighted",
        "rows": [9, 9],
        "classes": 2,
        "figures": {
            **{name: dict.fromkeys(names, ours) for name in OURS},
            "raw cut at 0.5": dict.fromkeys(names, 0.1),
            LOOP: dict.fromkeys(names, other),
        },
        "differences": {
            objective.name: {
                name: {"estimate": ours - other, "low": -0.5, "high": 0.5, "verdict": verdict}
                for name in (LOOP, "raw cut at 0.5", "swept cut per class (raw)")
            }
            for objective in OBJECTIVES
        },
        "seconds": {LOOP: 1.0},
        "unfinished": {"MAPIE recall": 5.0},
        "missing": {},
        "failed": {"MAPIE precision": "ValueError: none"},
    }


def test_the_table_names_the_best_other_and_where_ours_is_worse():
    record = _record(0.5, 0.6, "worse")

    table = quality_report.markdown([record])

    line = f"| tiny/weighted | 9 x 2 | **0.5000** | {LOOP} | 0.6000 | -0.1000 (-0.5000 to +0.5000)"
    assert f"{line} | worse |" in table
    assert "| all | 0, 0, 5 | 0, 0, 5 | 0, 0, 10 |" in table
    assert "| tiny/weighted | 0.5000 / 0.6000 worse | 0.5000 / 0.6000 worse |" in table
    assert f"- tiny/weighted, count: {LOOP}, -0.1000" in table
    assert "(raw)" not in table.split("Ours is worse than")[1]
    assert "tiny/weighted: MAPIE recall: not finished in 5 s" in table
    assert "tiny/weighted: MAPIE precision: ValueError: none" in table
    assert "Ours is worse" not in quality_report.markdown([_record(0.5, 0.6, "tied")])


def test_who_is_given_our_probabilities_is_no_rival_on_the_networks_own_scores():
    macro = OBJECTIVES[0]
    name = "xCOLUMNs Frank-Wolfe macro-F1 (calibrated)"
    record = _record(0.5, 0.6, "tied")
    record["figures"][name] = dict.fromkeys(record["figures"][LOOP], 0.7)
    for differences in record["differences"].values():
        differences[name] = {**differences[LOOP], "verdict": "worse"}

    assert quality_report.best_other(macro, record) == name
    assert quality_report.best_other(macro, record, own_scores=True) == LOOP
    assert "| macro-F1 | 0, 0, 1 | 0, 1, 0 | 0, 2, 1 |" in quality_report.markdown([record])


def test_who_decides_all_rows_together_is_a_rival_only_of_ours_that_does():
    macro, together = OBJECTIVES[:2]
    name = "xCOLUMNs block coordinate"
    record = _record(0.5, 0.6, "tied")
    record["figures"][name] = dict.fromkeys(record["figures"][LOOP], 0.7)
    for differences in record["differences"].values():
        differences[name] = {**differences[LOOP], "verdict": "worse"}

    table = quality_report.markdown([record])

    assert quality_report.best_other(macro, record) == LOOP
    assert quality_report.best_other(together, record) == name
    assert "| macro-F1 | 0, 1, 0 | 0, 1, 0 | 0, 2, 0 |" in table
    assert "| macro-F1, rows together | 0, 0, 1 | 0, 0, 1 | 0, 2, 1 |" in table


def test_the_best_count_is_the_nearest_to_1():
    count = OBJECTIVES[-1]
    record = _record(1.0, 1.5, "best")
    record["figures"]["raw cut at 0.5"]["count_ratio"] = 0.7
    assert quality_report.best_other(count, record) == "raw cut at 0.5"

    record["figures"][LOOP]["count_ratio"] = 1.2

    assert quality_report.best_other(count, record) == LOOP


def test_promises_are_shown_beside_what_was_reached():
    record = _record(0.5, 0.6, "tied")
    record["figures"]["MAPIE recall"] = dict.fromkeys(record["figures"][LOOP], 0.75)

    table = quality_report.full(record)

    assert "MAPIE recall promises instance_recall of 0.8; it has 0.750." in table

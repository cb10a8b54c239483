"""The simulation itself at a tiny size: that it runs, and that its tables say what they must."""

from __future__ import annotations

import sys

import interval_coverage
import numpy as np
import pytest


def test_a_small_run_prints_its_three_tables(monkeypatch, capsys):
    monkeypatch.setattr(interval_coverage, "POOL_ROWS", 3000)
    monkeypatch.setattr(sys, "argv", ["interval_coverage.py", "--draws", "5"])

    interval_coverage.main()

    output = capsys.readouterr().out
    tables = [part for part in output.split("\n\n") if part.startswith("|")]
    assert [len(table.splitlines()) for table in tables] == [2 + 12, 2 + 3, 2 + 4]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_exact_intervals_hold_where_the_normal_one_fails():
    table = interval_coverage.of_a_class(np.random.default_rng(0), 2000)

    line = next(row for row in table.splitlines() if row.startswith("| 2, 2, 2 |"))
    exact, _, normal, exact_2, _, normal_2 = map(float, line.split("|")[2:-1])
    assert min(exact, exact_2) > 0.95
    assert max(normal, normal_2) < 0.85


def test_the_share_that_holds_leaves_out_what_is_undefined():
    low, high = np.array([0.1, 0.6, np.nan]), np.array([0.9, 0.8, np.nan])

    assert interval_coverage.held(low, high, 0.5) == "0.500"


def test_the_normal_interval_is_the_textbook_one():
    low, high = interval_coverage.delta(*np.array([[8.0], [2.0], [2.0]]), 1.0)

    # variance of 2 tp / (2 tp + fp + fn): 4 (1 - F)^2 tp + F^2 (fp + fn), over the square of 20
    error = np.sqrt(4 * 0.2**2 * 8 + 0.8**2 * 4) / 20
    assert (low[0], high[0]) == pytest.approx((0.8 - 1.959964 * error, 0.8 + 1.959964 * error))

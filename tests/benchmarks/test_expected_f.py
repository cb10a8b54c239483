"""The timing itself at a tiny size: that its peer is right, and that its table is one."""

from __future__ import annotations

import sys
from functools import partial

import expected_f
import naive_sets
import numpy as np
import pytest


def test_the_peer_is_the_recursion():
    p = np.sort(np.random.default_rng(0).beta(0.4, 2, size=9))[::-1]

    found = expected_f.ye(p)

    expected = naive_sets.of_highest(p.tolist(), partial(naive_sets.f_beta, beta=1.0))
    assert found == pytest.approx(expected[1:], abs=1e-12)


def test_a_small_run_prints_one_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["expected_f.py", "4"])
    monkeypatch.setattr(expected_f, "CASES", ((300, 12.0), (50, 2.0)))
    monkeypatch.setattr(expected_f, "ROUNDS", 1)

    expected_f.main()

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * 7
    assert {line.count("|") for line in lines} == {7}
    # no form loses more than a thousandth, the exact one nothing that sums of floats do not
    lost = {line.split("|")[3].strip(): line.split("|")[6].strip() for line in lines[2:9]}
    assert float(lost["by means (Dinkelbach)"]) < 1e-3
    assert float(lost["exact (quadrature)"]) < 1e-9

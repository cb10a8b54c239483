"""The benchmark of device work checks its results and says where it ran."""

from __future__ import annotations

import argparse

import gpu
import pytest
import torch


def options(device="cpu"):
    return argparse.Namespace(rows=600, classes=40, batch=100, rounds=1, device=device)


def test_it_prints_shapes_device_and_a_line_for_each_job():
    lines = gpu.report(options())

    assert lines[0].startswith("600 x 40 float32, 0.00 GB, in batches of 100 rows")
    assert lines[2].startswith("no GPU: ")
    assert [line.split(" | ")[0] for line in lines[6:]] == ["| histogram", "| exact F1 sweep"]
    assert "missed" not in "".join(lines)


def test_results_that_differ_from_those_of_the_host_stop_it(monkeypatch):
    case = gpu.simulated(50, 3, torch.device("cpu"))
    monkeypatch.setattr(gpu, "best_cuts", lambda z, y, m: [values + 1 for values in found])
    found = gpu.cuts_of_host(gpu.labelled_logits(case.logits, case.targets), gpu.f_beta(1))[0]

    with pytest.raises(SystemExit, match="the best cuts differ from those of the host"):
        gpu.check(case, 10)

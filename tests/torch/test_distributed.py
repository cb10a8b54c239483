"""Two processes count as one does, however the rows are shared out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from calibrate.torch import HistogramAccumulator

pytestmark = [
    pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo"),
    pytest.mark.filterwarnings("ignore::calibrate.FitWarning"),
]
SCRIPT = Path(__file__).with_name("one_rank.py")


@pytest.fixture(scope="module")
def one_rank():
    """The script as a module."""
    from importlib import util

    spec = util.spec_from_file_location("one_rank", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), "2", folder / "meeting", folder / f"{rank}.npz"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    return [np.load(folder / f"{rank}.npz", allow_pickle=False) for rank in (0, 1)]


def of(result, name):
    return {key.removeprefix(name): result[key] for key in result if key.startswith(name)}


@pytest.mark.parametrize("share", ["even", "uneven", "one idle"])
@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_has_what_one_process_would(results, one_rank, share, rank):
    alone = HistogramAccumulator(one_rank.N_CLASSES, reservoir=one_rank.N_KEPT)
    one_rank.feed(alone, np.arange(one_rank.N_ROWS), 17)
    expected = one_rank.found(alone)

    for name in (share, f"{share} again"):
        found = of(results[rank], f"{name}/")
        assert {key: value.tolist() for key, value in expected.items()} == {
            key: found[key].tolist() for key in expected
        }


def test_each_process_keeps_what_it_counted_itself(results, one_rank):
    for share, sizes in one_rank.SHARES.items():
        assert [int(result[f"{share}/own rows"]) for result in results] == list(sizes)


def test_each_process_knows_its_rank(results):
    assert [int(result["rank"]) for result in results] == [0, 1]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_does_not_add_up_is_refused_by_every_process(results, rank):
    assert str(results[rank]["other grid"]).endswith("all processes must have the same grid")
    assert "must have the same classes, bins, reservoir" in str(results[rank]["other size"])


def test_without_a_process_group_the_sum_is_a_copy():
    accumulator = HistogramAccumulator(2)
    accumulator.update(torch.zeros(3, 2), torch.zeros(3, 2))

    total = accumulator.all_reduce()
    accumulator.update(torch.zeros(2, 2), torch.zeros(2, 2))

    assert (total.n_rows, accumulator.n_rows) == (3, 5)

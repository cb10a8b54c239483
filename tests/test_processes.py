"""Other processes and other people's folders: workers, forks, and an installation nobody may write.

What runs there is in `workload`, since workers import what they run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import workload

import calibrate as cal

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
fork_is_meant = pytest.mark.filterwarnings(
    # numpy's own pool of threads makes Python 3.12 and later warn of any fork
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)
few_cores_will_do = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 2 worker processes in total:UserWarning"
)


@pytest.fixture(scope="module")
def expected() -> list[list[float]]:
    """The numbers of a fit in this process."""
    return workload.numbers(workload.pipeline())


@can_fork
def test_a_forked_child_can_fit_after_its_parent_did(expected, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "2")
    assert workload.numbers(workload.pipeline()) == expected

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if workload.numbers(workload.pipeline()) == expected else 1)
        except BaseException:
            os._exit(2)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@few_cores_will_do
@fork_is_meant
@pytest.mark.parametrize("start", [pytest.param("fork", marks=can_fork), "spawn"])
def test_workers_of_a_data_loader_decide_and_fit_as_their_parent_does(start, expected):
    from torch.utils.data import DataLoader

    logits, labels = workload.simulated()
    decision = workload.pipeline().fit(logits, labels).decision_
    loader = DataLoader(
        workload.Batches(decision),
        batch_size=3,
        num_workers=2,
        collate_fn=workload.collate,
        multiprocessing_context=start,
        timeout=120,
    )

    batches = list(loader)

    decided = np.concatenate([labels for labels, _ in batches])
    assert (decided == decision.predict(logits).toarray()).all()
    assert [numbers for _, numbers in batches] == [expected] * 2


def test_a_spawned_process_fits_as_its_parent_does(expected):
    spawn = multiprocessing.get_context("spawn")

    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(workload.numbers, workload.pipeline()).result(timeout=120) == expected


WITHOUT_POWER = """
import os, sys
if os.geteuid() == 0:
    # root may write anywhere, and passes that power on: leave it behind (PR_CAPBSET_DROP)
    import ctypes
    CAP_DAC_OVERRIDE = 1
    assert ctypes.CDLL(None).prctl(24, CAP_DAC_OVERRIDE, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Installation:
    """A copy of the package that nobody may write, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.site, self.home, self.elsewhere = (
            folder / name for name in ("site", "home", "elsewhere")
        )
        self.home.mkdir()
        self.elsewhere.mkdir()
        shutil.copytree(
            Path(cal.__file__).parent,
            self.site / "calibrate",
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a Python that imports this copy and may write where its user may."""
        own = {"HOME": str(self.home), "PYTHONPATH": str(self.site)}
        unset = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONPYCACHEPREFIX")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_POWER, *map(str, arguments)],
            env=kept | own,
            cwd=self.elsewhere,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stderr
        return result

    def fits(self, n_threads: int) -> dict:
        """What a process of its own reports of fits in so many threads."""
        report = json.loads(self.run(workload.__file__, "fits", n_threads).stdout)
        assert Path(report["package"]).is_relative_to(self.site)
        return report

    def files(self) -> list[Path]:
        return sorted(path for folder in (self.site, self.home) for path in folder.rglob("*"))


def close(folder: Path) -> None:
    """Take from everybody the right to write in a folder and in all that is below it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    """An installation in a folder that its users, root included, cannot write."""
    if os.name != "posix":
        pytest.skip("folders are closed in another way on this platform")
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root can write everywhere on this platform")
    made = Installation(tmp_path_factory.mktemp("prefix"))
    close(made.site)
    yield made
    for folder in (made.site, made.home):
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


WRITING = """
import pathlib, sys
for folder in sys.argv[1:]:
    try:
        (pathlib.Path(folder) / "new").touch()
    except PermissionError:
        continue
    sys.exit(f"{folder} can be written: the test would prove nothing")
"""

WARMUP_WITHOUT_WORK = """
from calibrate import cli, compilation
compilation._all_that_users_do = lambda folder: ()
cli.main(["warmup", "--json"])
"""


def test_a_fit_works_where_nothing_can_be_written(read_only):
    close(read_only.home)
    before = read_only.files()
    folders = [path for path in before if path.is_dir()]
    read_only.run("-c", WRITING, read_only.site, read_only.home, *folders)

    report = read_only.fits(1)
    warmup = read_only.run("-c", WARMUP_WITHOUT_WORK)

    assert report["numbers"] == [workload.numbers(workload.quick_to_compile())]
    assert report["compiled"]
    assert report["loaded"] == {}
    assert json.loads(warmup.stdout)["folders"] == []
    assert warmup.stderr.startswith("warning: numba's cache cannot be written")
    assert read_only.files() == before


def test_kernels_are_kept_in_the_home_where_the_installation_cannot_be_written(read_only):
    read_only.home.chmod(0o700)
    before = read_only.files()
    expected = workload.numbers(workload.quick_to_compile())

    # four fits at once find nothing compiled, and each needs what the others compile
    first = read_only.fits(4)
    new = {path for path in read_only.files() if path not in before}
    second = read_only.fits(1)

    assert first["numbers"] == [expected] * 4
    assert second["numbers"] == [expected]
    assert first["compiled"]
    assert first["loaded"] == {}
    assert second["compiled"] == {}
    assert second["loaded"]
    assert any(path.suffix == ".nbc" for path in new)
    assert all(path.is_relative_to(read_only.home) for path in new)
    assert set(read_only.files()) == {*before, *new}

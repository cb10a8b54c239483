"""``calibrate report`` and ``fit --report`` as a user types them."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from reported import names, world
from scipy import sparse

import calibrate as cal
from calibrate.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::calibrate.FitWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with two sets of rows and a rule that is fitted to the first."""
    folder = tmp_path_factory.mktemp("files")
    logits, labels = world()
    for name, part in (("fit", slice(800)), ("test", slice(800, None))):
        np.save(folder / f"{name}.npy", logits[part])
        sparse.save_npz(folder / f"{name}.npz", sparse.csr_array(labels[part]))
    (folder / "names.json").write_text(json.dumps(names()))
    result = run(
        "fit", folder / "fit.npy", folder / "fit.npz", "-o", folder / "rule", "--folds", 3,
        "--class-names", folder / "names.json", "--objective", "macro-f1", "--calibrator", "none",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return folder


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def packed(page: str, which: str) -> dict:
    """What a page holds for its scripts."""
    found = re.search(rf'id="{which}">([^<]*)<', page)
    return json.loads(gzip.decompress(base64.b64decode(found.group(1))))


def test_it_writes_every_form_and_says_the_verdict(files, tmp_path):
    outputs = {form: tmp_path / f"report.{form}" for form in ("html", "json", "csv", "markdown")}

    result = run(
        "report", files / "rule", files / "test.npy", files / "test.npz", "-o", outputs["html"],
        "--json", outputs["json"], "--csv", outputs["csv"], "--markdown", outputs["markdown"],
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "Out of sample: judged on 700 rows of 40 classes" in result.stderr
    command = f"calibrate report {files / 'rule'} {files / 'test.npy'} {files / 'test.npz'}"
    expected = cal.threshold_report(
        cal.load(files / "rule"), files / "test.npy", files / "test.npz", command=command
    )
    written = json.loads(outputs["json"].read_text())
    assert written == json.loads(json.dumps(expected.as_dict()))
    assert written["provenance"]["command"] == command
    assert outputs["csv"].read_text() == expected.csv()
    assert len(list(csv.reader(outputs["csv"].read_text().splitlines()))) == 41
    assert outputs["markdown"].read_text() == expected.markdown()
    assert outputs["html"].read_text() == expected.html()


def test_the_page_is_the_same_bytes_each_time(files, tmp_path):
    for name in ("one", "two"):
        run("report", files / "rule", files / "test.npy", files / "test.npz", "-o", tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_no_class_name_is_in_the_page_but_packed(files, tmp_path):
    run("report", files / "rule", files / "test.npy", files / "test.npz", "-o", tmp_path / "page")

    page = (tmp_path / "page").read_text()

    assert packed(page, "data")["names"] == names()
    assert "alert(1)" not in page
    assert "שלום" not in page


def test_fit_can_write_the_page_of_its_own_rows(files, tmp_path):
    result = run(
        "fit", files / "fit.npy", files / "fit.npz", "-o", tmp_path / "rule", "--folds", 3,
        "--report", tmp_path / "page.html", "--rule", "per-class-threshold", "--calibrator", "none",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert f"wrote {tmp_path / 'page.html'}\n" in result.stdout
    page = (tmp_path / "page.html").read_text()
    cross_fit = cal.load(tmp_path / "rule").provenance["cross_fit"]
    assert f"{cross_fit['out_of_sample']['macro_f']:.4f} <small>" in page
    assert "each was judged by one of 3 fits without it" in page
    assert page.count("In-sample: these are the rows that the rule was fitted to") == 3


def test_fit_tells_in_json_where_the_page_is(files, tmp_path):
    result = run(
        "fit", files / "fit.npy", files / "fit.npz", "-o", tmp_path / "rule", "--folds", 0,
        "--report", tmp_path / "page.html", "--calibrator", "none", "--json",
    )  # fmt: skip

    assert json.loads(result.stdout)["report"] == str(tmp_path / "page.html")


@pytest.mark.parametrize("option", ["--report", "-o"])
def test_fit_refuses_to_overwrite_either_file_before_it_begins(files, tmp_path, option):
    (tmp_path / "there").write_text("mine")
    other = "-o" if option == "--report" else "--report"

    result = run(
        "fit", files / "fit.npy", files / "fit.npz", option, tmp_path / "there", other,
        tmp_path / "new",
    )  # fmt: skip

    assert result.exit_code == 2
    assert "there exists; give --force to overwrite it" in result.stderr
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_it_needs_a_file_to_write_and_overwrites_none(files, tmp_path):
    (tmp_path / "there").write_text("mine")
    arguments = ["report", files / "rule", files / "test.npy", files / "test.npz"]

    nothing = run(*arguments)
    there = run(*arguments, "--csv", tmp_path / "there")
    forced = run(*arguments, "--csv", tmp_path / "there", "--force", "--quiet")

    assert nothing.exit_code == there.exit_code == 2
    assert "name a file to write: --output, --json, --csv or --markdown" in nothing.stderr
    assert "exists; give --force" in there.stderr
    assert forced.exit_code == 0
    assert forced.stderr == ""
    assert (tmp_path / "there").read_text().startswith("class,")


def test_labels_may_be_lists_of_the_names_the_rule_knows(files, tmp_path):
    _, labels = world()
    lines = [[names()[c] for c in np.flatnonzero(row)] for row in labels[800:]]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["report", files / "rule", files / "test.npy"]

    for number, form in enumerate((tmp_path / "labels.jsonl", files / "test.npz")):
        assert run(*arguments, form, "--csv", tmp_path / str(number)).exit_code == 0

    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text()


def test_a_rule_fitted_on_probabilities_takes_probabilities(files, tmp_path):
    logits, _ = world()
    np.save(tmp_path / "p.npy", 1 / (1 + np.exp(-logits[800:].astype(np.float64))))
    fit = run(
        "fit", tmp_path / "p.npy", files / "test.npz", "-o", tmp_path / "rule", "--probabilities",
        "--calibrator", "none", "--rule", "shared-threshold", "--folds", 0,
    )  # fmt: skip
    assert fit.exit_code == 0, fit.stderr

    result = run(
        "report", tmp_path / "rule", tmp_path / "p.npy", files / "test.npz",
        "--json", tmp_path / "json",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "json").read_text())
    assert found["verdict"]["judged_on"] == "fitting rows"
    assert found["provenance"]["input"] == "probabilities"


def test_without_bokeh_one_sentence_says_what_to_install(files, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bokeh.resources", None)
    arguments = ["report", files / "rule", files / "test.npy", files / "test.npz"]

    page = run(*arguments, "-o", tmp_path / "page.html")
    fit = run(
        "fit", files / "fit.npy", files / "fit.npz", "-o", tmp_path / "rule", "--report",
        tmp_path / "page.html",
    )  # fmt: skip
    numbers = run(*arguments, "--json", tmp_path / "numbers.json")

    for result in (page, fit):
        assert result.exit_code == 2
        assert result.stderr == (
            'Error: the page needs bokeh: pip install "calibrate-multilabel[report]"\n'
        )
    assert not (tmp_path / "page.html").exists()
    assert not (tmp_path / "rule").exists()
    assert numbers.exit_code == 0

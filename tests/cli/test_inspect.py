"""What `calibrate inspect` says of every form of input, as text and as JSON."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

import calibrate as cal
from calibrate.cli import main

LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 0, 1], [1, 0, 1]], dtype=np.uint8)
LOGITS = np.array([[1.5, -2, 0.5], [-1, -3, -2], [-1, -2, 1], [2, -4, 3]], dtype=np.float32)


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def inspected(*arguments: object) -> dict:
    result = run("inspect", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def text_of(*arguments: object) -> str:
    result = run("inspect", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def assert_describes_labels(content: dict) -> None:
    expected = {"kind": "labels", "n_rows": 4, "n_classes": 3, "n_labels": 5}
    assert expected.items() <= content.items()


def threshold_rule(folder: Path, names: list[str] | None = None) -> Path:
    """A rule with a class that is never predicted, because it has no positives."""
    pipeline = cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    with pytest.warns(cal.FitWarning):
        pipeline.fit(LOGITS, LABELS, class_names=names)
    pipeline.save(folder / "rule.safetensors")
    return folder / "rule.safetensors"


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_files_of_any_format_are_labels(tmp_path, form):
    sparse.save_npz(tmp_path / "l.npz", sparse.csr_array(LABELS).asformat(form))

    assert_describes_labels(inspected(tmp_path / "l.npz"))


def test_upper_case_suffixes_are_known(tmp_path):
    sparse.save_npz(tmp_path / "l.npz", sparse.coo_array(LABELS))
    (tmp_path / "l.npz").rename(tmp_path / "L.NPZ")
    (tmp_path / "L.JSONL").write_text("[0, 2]\n[]\n[2]\n[0, 2]\n")
    (tmp_path / "N.TXT").write_text("a\nb\n")

    assert_describes_labels(inspected(tmp_path / "L.NPZ"))
    assert_describes_labels(inspected(tmp_path / "L.JSONL"))
    assert inspected(tmp_path / "N.TXT")["kind"] == "class names"


def test_globs_of_sparse_labels_are_laid_end_to_end(tmp_path):
    for number, part in enumerate(np.split(LABELS, 2)):
        sparse.save_npz(tmp_path / f"l{number}.npz", sparse.csr_array(part))

    assert_describes_labels(inspected(tmp_path / "l*.npz"))


def test_globs_of_lines_are_laid_end_to_end(tmp_path):
    (tmp_path / "l1.jsonl").write_text("[0, 2]\n[]\n")
    (tmp_path / "l2.jsonl").write_text("[2]\n[0, 2]\n")

    assert_describes_labels(inspected(tmp_path / "l*.jsonl"))


def test_globs_of_logits_are_laid_end_to_end(tmp_path):
    for number, part in enumerate(np.split(LOGITS, 2)):
        np.save(tmp_path / f"part{number}.npy", part)

    content = inspected(tmp_path / "part*.npy")

    assert (content["kind"], content["n_rows"]) == ("logits", 4)
    assert (content["lowest"], content["highest"]) == (-4, 3)


def test_a_glob_of_what_cannot_be_laid_end_to_end_is_refused(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("rock\njazz\n")

    result = run("inspect", tmp_path / "*.txt")

    assert result.exit_code == 2
    assert "matches 2 files" in result.stderr


def test_a_glob_without_files_is_refused(tmp_path):
    result = run("inspect", tmp_path / "l*.npz")

    assert result.exit_code == 2
    assert "no file matches" in result.stderr


@pytest.mark.parametrize(
    ("file", "content"),
    [("n.txt", "rock\njazz\n12\n"), ("n.txt", "1_0\n1_1\n1_2\n"), ("n.json", '["a", "b", "c"]')],
)
def test_class_names_are_counted_and_listed(tmp_path, file, content):
    (tmp_path / file).write_text(content)

    found = inspected(tmp_path / file)

    assert (found["kind"], found["count"], found["error"]) == ("class names", 3, None)
    assert len(found["class_names"]) == 3
    assert ", ".join(found["class_names"]) in text_of(tmp_path / file)


def test_class_names_that_repeat_are_said(tmp_path):
    (tmp_path / "n.txt").write_text("rock\njazz\nrock\n")

    content, text = inspected(tmp_path / "n.txt"), text_of(tmp_path / "n.txt")

    assert content["count"] == 3
    assert content["error"] == "class names must differ, got 'rock' for classes 0, 2"
    assert content["error"] in text


def test_numbers_are_described_from_text_and_from_one_axis(tmp_path):
    (tmp_path / "w.txt").write_text("2.5\n-1\n0\n1e3\n")
    np.save(tmp_path / "w.npy", np.array([2.5, -1, 0, 1e3], dtype=np.float32))

    from_text, from_array = inspected(tmp_path / "w.txt"), inspected(tmp_path / "w.npy")

    expected = {"kind": "numbers", "count": 4, "lowest": -1, "highest": 1000, "not_positive": 2}
    assert expected.items() <= from_text.items()
    assert expected.items() <= from_array.items()


def test_numbers_that_are_not_finite_are_counted(tmp_path):
    np.save(tmp_path / "w.npy", np.array([1, np.inf, np.nan]))

    content = inspected(tmp_path / "w.npy")

    assert (content["lowest"], content["highest"], content["not_finite"]) == (1, 1, 2)
    assert content["not_positive"] == 1


def test_the_key_of_lines_is_passed_on(tmp_path):
    rows = [{"tags": [0, 2], "labels": [7]}, {"tags": []}, {"tags": [2]}, {"tags": [0, 2]}]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert_describes_labels(inspected(tmp_path / "l.jsonl", "--key", "tags"))


def test_ids_of_lines_that_have_all_classes_are_no_matrix(tmp_path):
    (tmp_path / "l.jsonl").write_text("[0, 1]\n[1, 0]\n")

    content = inspected(tmp_path / "l.jsonl")

    assert (content["n_classes"], content["n_labels"]) == (2, 4)


def test_ids_that_no_class_can_have_are_refused(tmp_path):
    (tmp_path / "l.jsonl").write_text("[5000000000]\n")

    result = run("inspect", tmp_path / "l.jsonl")

    assert result.exit_code == 2
    assert "got 5000000000" in result.stderr


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
def test_arrays_of_zeros_and_ones_are_labels(tmp_path, dtype):
    np.save(tmp_path / "l.npy", LABELS.astype(dtype))

    assert_describes_labels(inspected(tmp_path / "l.npy"))


@pytest.mark.parametrize("array", [LABELS.astype(np.float32), LABELS.astype(np.int8) * 2])
def test_other_arrays_are_logits_unless_said_to_be_labels(tmp_path, array):
    np.save(tmp_path / "l.npy", array)

    assert inspected(tmp_path / "l.npy")["kind"] == "logits"


def test_float_labels_are_read_as_labels_when_said_so(tmp_path):
    np.save(tmp_path / "l.npy", LABELS.astype(np.float32))

    assert_describes_labels(inspected(tmp_path / "l.npy", "--labels"))


def test_what_apply_writes_is_read_as_labels(tmp_path):
    np.save(tmp_path / "x.npy", LOGITS)
    rule = threshold_rule(tmp_path, ["rock", "jazz", "folk"])
    outputs = [tmp_path / f"out.{suffix}" for suffix in ("npy", "npz", "jsonl")]
    for output in outputs:
        run("apply", rule, tmp_path / "x.npy", "-o", output)

    contents = [inspected(output) for output in outputs]

    assert [content["kind"] for content in contents] == ["labels"] * 3
    assert [content["n_labels"] for content in contents] == [5] * 3


def save_both(path: Path) -> None:
    if path.suffix == ".npz":
        np.savez(path, ids=np.arange(4), labels=LABELS, logits=LOGITS)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({"ids": np.arange(4), "labels": LABELS, "logits": LOGITS}, path)
    else:
        torch = pytest.importorskip("torch")
        tensors = {"labels": torch.tensor(LABELS), "logits": torch.tensor(LOGITS)}
        torch.save({"ids": torch.arange(4), **tensors}, path)


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pt"])
def test_arrays_beside_the_one_described_are_named(tmp_path, suffix):
    path = tmp_path / f"run.{suffix}"
    save_both(path)

    logits, labels = inspected(path), inspected(path, "--labels")

    assert logits["kind"] == "logits"
    assert sorted(logits["also_holds"]) == ["ids", "labels"]
    assert_describes_labels(labels)
    assert sorted(labels["also_holds"]) == ["ids", "logits"]
    assert_describes_labels(inspected(path, "--key", "labels"))
    assert "also holds" in text_of(path)


def test_an_array_named_labels_is_labels(tmp_path):
    np.savez(tmp_path / "run.npz", labels=LABELS.astype(np.float32), weights=np.ones(3))

    content = inspected(tmp_path / "run.npz")

    assert_describes_labels(content)
    assert content["also_holds"] == ["weights"]


def test_sparse_tensors_are_labels(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.tensor(LABELS).to_sparse_coo(), tmp_path / "l.pt")

    assert_describes_labels(inspected(tmp_path / "l.pt"))


def test_lines_of_names_need_no_class_names(tmp_path):
    (tmp_path / "l.jsonl").write_text('["rock", "jazz"]\n[]\n["jazz"]\n')

    content = inspected(tmp_path / "l.jsonl")

    expected = {"kind": "labels", "n_rows": 3, "n_classes": 2, "n_labels": 3, "labels_per_row": 1}
    assert expected.items() <= content.items()
    assert content["class_names"] is None


def with_names(path: Path, names: np.ndarray) -> Path:
    sparse.save_npz(path, sparse.csr_array(LABELS))
    with zipfile.ZipFile(path, "a") as archive, archive.open("class_names.npy", "w") as member:
        np.lib.format.write_array(member, names)
    return path


def test_class_names_within_a_file_of_labels_are_shown(tmp_path):
    path = with_names(tmp_path / "l.npz", np.array(["röck", "jazz", "folk"]))

    content, text = inspected(path), text_of(path)

    assert_describes_labels(content)
    assert content["class_names"] == ["röck", "jazz", "folk"]
    assert content["also_holds"] == []
    assert "röck, jazz, folk" in text


@pytest.mark.parametrize("names", [np.arange(3), np.array([["röck", "jazz", "folk"]])])
def test_class_names_within_a_file_that_are_no_list_of_strings_are_refused(tmp_path, names):
    path = with_names(tmp_path / "l.npz", names)

    result = run("inspect", path)

    assert result.exit_code == 2
    assert "'class_names' in" in result.stderr


def test_json_of_a_rule_is_data(tmp_path):
    names = ["rock", "jazz", "folk"]

    content = inspected(threshold_rule(tmp_path, names))

    assert content["class_names"] == names
    (step,) = content["steps"]
    assert (step["op"], step["numbers"]) == ("threshold", {})
    threshold = step["arrays"]["threshold"]
    assert (threshold["shape"], threshold["never"]) == ([3], 1)
    assert threshold["lowest"] <= threshold["highest"] < np.inf
    assert content["findings"][0] == {
        "step": "PerClassThreshold",
        "code": "no_positives",
        "message": "1 of 3 classes have no positives: they are never predicted",
        "n_classes": 1,
    }


def test_json_of_an_array_without_finite_values_has_nulls(tmp_path):
    from calibrate.decision import Decision
    from calibrate.ops import Threshold

    never = Threshold(np.full(2, np.inf, dtype=np.float32))
    Decision((), never, 2, None).save(tmp_path / "rule.safetensors")

    (step,) = inspected(tmp_path / "rule.safetensors")["steps"]

    assert step["arrays"]["threshold"] == {
        "shape": [2],
        "lowest": None,
        "highest": None,
        "never": 2,
    }


def test_json_of_labels_is_data(tmp_path):
    sparse.save_npz(tmp_path / "l.npz", sparse.csr_array(LABELS))

    content = inspected(tmp_path / "l.npz")

    assert content["positives_per_class"] == {"lowest": 0, "median": 2, "highest": 3}
    assert content["class_names"] is None
    assert "0 to 3, median 2" in text_of(tmp_path / "l.npz")


def test_text_is_wrapped_below_the_values(tmp_path):
    names = [f"a rather long name of a class of music, number {i}" for i in range(3)]

    lines = text_of(threshold_rule(tmp_path, names)).splitlines()

    assert max(len(line) for line in lines) <= 80
    column = lines[0].index("rule")
    (start,) = (i for i, line in enumerate(lines) if line.startswith("class names"))
    assert lines[start + 1][:column].isspace()
    assert lines[start + 1][column] != " "
    assert "a rather long name of a cla..." in lines[start]


def test_a_rule_is_known_whatever_its_suffix(tmp_path):
    rule = threshold_rule(tmp_path).rename(tmp_path / "rule")

    assert inspected(rule)["kind"] == "rule"


@pytest.mark.parametrize("file", ["x.npz", "x.safetensors", "x.pt", "x.npy"])
def test_damaged_files_are_refused_by_their_reader(tmp_path, file):
    (tmp_path / file).write_bytes(b"PK not really a zip file, nor anything else" * 9)

    result = run("inspect", tmp_path / file)

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_what_the_default_calibrator_learned_is_told(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.random((500, 9)) < 0.3
    logits = 2 * labels + rng.normal(size=labels.shape)
    weights = np.linspace(2, 20, 9)
    pipeline = cal.Pipeline([cal.HierarchicalScaling(weights)], cal.ExpectedCountTopK())
    pipeline.fit(logits, labels).save(tmp_path / "rule.safetensors")

    text = text_of(tmp_path / "rule.safetensors")
    told = inspected(tmp_path / "rule.safetensors")["learned"]

    report = pipeline.calibrators_[0].report_
    for sentence in report.sentences():
        assert sentence.split(";")[0] in " ".join(text.split())
    assert "of the weights' shift is still there" in text
    assert [part["step"] for part in told] == ["HierarchicalScaling"]
    assert told[0]["slope"] == report.pooled.slope
    assert max(len(line) for line in text.splitlines()) <= 80

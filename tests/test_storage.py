"""Rule files: whole or refused, the same bytes for the same rule, never half-written."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import safetensors.numpy

from calibrate import storage
from calibrate.decision import Decision, load
from calibrate.ops import (
    Affine,
    ExpectedCountTopK,
    LargestGap,
    ModeTopK,
    Threshold,
    TopK,
    WeightedTopK,
)
from calibrate.pipeline import Pipeline
from calibrate.rules.expected_count_top_k import ExpectedCountTopK as ExpectedCountTopKRule
from calibrate.rules.fixed_threshold import FixedThreshold


def a_decision(n_classes: int = 3) -> Decision:
    step = Affine(np.linspace(1, 2, n_classes, dtype=np.float32), np.zeros(n_classes, np.float32))
    names = tuple(f"class {i}" for i in range(n_classes))
    return Decision((step,), Threshold(np.zeros(n_classes, np.float32)), n_classes, names)


def rewritten(path, change) -> None:
    """The rule file with its JSON content changed."""
    with safetensors.safe_open(path, framework="np") as file:
        content = json.loads(file.metadata()["calibrate"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(content, arrays)
    safetensors.numpy.save_file(arrays, path, metadata={"calibrate": json.dumps(content)})


@pytest.mark.parametrize(
    "rule",
    [
        Threshold(np.array([0.5, np.inf, -1.0], np.float32)),
        Threshold(np.array(0.25, np.float32)),
        TopK(2),
        ExpectedCountTopK(0.4, 0, None),
        ExpectedCountTopK(-1.5, 1, 7),
        ModeTopK(1, None),
        LargestGap(),
        WeightedTopK(2, np.array([1.0, 2.0, 0.5], np.float32), np.array(-0.5, np.float32)),
    ],
)
def test_a_rule_comes_back_as_it_was(rule, tmp_path):
    steps = (Affine(np.array(2.0, np.float32), np.array([0.1, 0.2, 0.3], np.float32)),)
    names = ("rock", "jazz", "Händel, G. F.")

    Decision(steps, rule, 3, names, {"n_rows": 7}).save(tmp_path / "rule.safetensors")
    loaded = load(tmp_path / "rule.safetensors")

    assert type(loaded.rule) is type(rule)
    assert loaded.rule.numbers() == rule.numbers()
    for name, array in rule.arrays().items():
        assert np.array_equal(loaded.rule.arrays()[name], array)
        assert loaded.rule.arrays()[name].shape == array.shape
    assert np.array_equal(loaded.steps[0].shift, steps[0].shift)
    assert loaded.steps[0].scale.shape == ()
    assert loaded.class_names == names
    assert dict(loaded.provenance) == {"n_rows": 7}


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    path = tmp_path / "rule.safetensors"
    a_decision().save(path)
    whole = path.read_bytes()

    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])

        with pytest.raises(ValueError, match="must be a whole safetensors rule file"):
            load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no rule file at .*absent"):
        load(tmp_path / "absent.safetensors")


def test_a_safetensors_file_of_something_else_is_no_rule(tmp_path):
    safetensors.numpy.save_file({"weight": np.zeros(3)}, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match="but not a rule of calibrate"):
        load(tmp_path / "model.safetensors")
    assert not storage.is_rule(tmp_path / "model.safetensors")


def test_a_newer_format_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "rule.safetensors"
    a_decision().save(path)
    rewritten(path, lambda content, _: content.update(format=2))

    with pytest.raises(ValueError, match=r"has format 2, .* reads up to 1: upgrade calibrate-mult"):
        load(path)


def test_an_unknown_step_is_refused(tmp_path):
    path = tmp_path / "rule.safetensors"
    a_decision().save(path)
    rewritten(path, lambda content, _: content["ops"][0].update(op="__import__"))

    with pytest.raises(ValueError, match=r"unknown step '__import__'; known are affine, asym"):
        load(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda content, arrays: arrays.pop("0.scale"), "parts of step 'affine' do not fit"),
        (
            lambda content, arrays: content["ops"][0]["numbers"].update(stray=1),
            "parts of step 'affine' do not fit",
        ),
        (
            lambda content, arrays: (content["ops"].pop(), arrays.pop("1.threshold")),
            "one decision at the end, got affine",
        ),
        (
            lambda content, arrays: (content["ops"].clear(), arrays.clear()),
            "one decision at the end, got no steps",
        ),
        (lambda content, arrays: content["ops"].pop(), "array '1.threshold' is part of no step"),
        (lambda content, arrays: content["ops"].reverse(), "parts of step"),
        (lambda content, arrays: content.update(n_classes=4), "got 3"),
        (
            lambda content, arrays: content["class_names"].__setitem__(0, "other"),
            "class names do not match their hash",
        ),
        (
            lambda content, arrays: arrays.update({"1.threshold": np.full(3, np.nan, np.float32)}),
            "threshold must not hold nan",
        ),
        (
            lambda content, arrays: arrays.update({"0.scale": -np.ones(3, np.float32)}),
            "scale must be positive",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, text, tmp_path):
    path = tmp_path / "rule.safetensors"
    a_decision().save(path)
    rewritten(path, change)

    with pytest.raises(ValueError, match=text):
        load(path)


def test_metadata_that_is_no_rule_content_is_refused(tmp_path):
    path = tmp_path / "rule.safetensors"
    for text in ("{", "[]", "{}", '{"format": "x", "ops": []}', '{"format": 1, "ops": [{}]}'):
        safetensors.numpy.save_file({"0.k": np.zeros(1)}, path, metadata={"calibrate": text})

        with pytest.raises(ValueError, match="the rule's"):
            load(path)


def test_the_same_rule_gives_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        a_decision(500).save(tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_rule_for_thousands_of_classes_stays_small(tmp_path):
    a_decision(7900).save(tmp_path / "rule.safetensors")

    assert (tmp_path / "rule.safetensors").stat().st_size < 400_000
    assert load(tmp_path / "rule.safetensors").n_classes == 7900


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "rule.safetensors"
    path.write_bytes(b"old")

    def full_disk(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        storage.write_atomically(path, full_disk)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_device_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        a_decision().save(tmp_path / "rule.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        a_decision().save(tmp_path / "absent" / "rule.safetensors")


def test_a_written_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()

    a_decision().save(tmp_path / "rule.safetensors")

    assert (tmp_path / "rule.safetensors").stat().st_mode == usual.stat().st_mode


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    storage.write_atomically(tmp_path / "link", lambda file: file.write(b"new"))

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_what_is_no_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="must be a file to be overwritten"):
            storage.write_atomically(path, lambda file: file.write(b"new"))

    assert (tmp_path / "pipe").is_fifo()


def test_a_failed_write_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        a_decision().save(tmp_path / "absent" / "rule.safetensors")

    assert caught.value.filename == str(tmp_path / "absent" / "rule.safetensors")


@pytest.mark.parametrize(
    "rule", [FixedThreshold(np.inf), ExpectedCountTopKRule(np.int64(1), np.int64(3))]
)
def test_options_of_any_number_type_are_saved(rule, tmp_path):
    logits, labels = np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([[1, 0], [1, 1]])

    Pipeline([], rule).fit(logits, labels).save(tmp_path / "rule")

    assert load(tmp_path / "rule").n_classes == 2

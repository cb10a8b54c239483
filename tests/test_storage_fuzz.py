"""Rule files that are damaged, hostile or of the future end in one clear error, always and soon."""

from __future__ import annotations

import json
import os
import struct
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import calibrate as cal
from calibrate import ops
from calibrate.cli import main
from calibrate.decision import Decision

LAW = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

N_CLASSES = 3


def whole_rule() -> Decision:
    """A decision of several steps, with names and a provenance as a fit writes it."""
    steps = (
        ops.Affine(np.ones(N_CLASSES), np.array(0.5)),
        ops.RowAffine(np.array(1.0), np.array(0.0), by_count=-0.5),
        ops.PiecewiseLinear([0, 2], [0.0, 1.0], [0.0, 3.0], [1.0], [0.5]),
        ops.AsymmetricLoss(0.0, 4.0, 0.05, True),
    )
    finding = {"code": "no_positives", "message": "one class is empty", "classes": [1]}
    provenance = {
        "calibrate": "0.1.0",
        "pipeline": [{"step": "TopK", "options": {}, "findings": [finding]}],
        "n_rows": 10,
        "n_positives": 4,
        "input": "logits",
        "cross_fit": None,
    }
    return Decision(
        steps, ops.ExpectedFBeta(False, 0.5, 1.0, 1.0), N_CLASSES, tuple("abc"), provenance
    )


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "rule.safetensors"
    whole_rule().save(path)
    return path


def parts_of(path: Path) -> tuple[dict, dict]:
    """Content and arrays of a rule file."""
    with safetensors.safe_open(path, framework="np") as file:
        content = json.loads(file.metadata()["calibrate"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return content, arrays


def written(path: Path, content: object, arrays: dict) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"calibrate": text}))


def refusal_or_rule(path: Path) -> str | None:
    """The text of the one error that loading may end in, or None if the rule is loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            cal.load(path)
        except ValueError as error:
            refusal = error
        else:
            return None
    assert type(refusal) is ValueError
    assert str(path) in str(refusal)
    return str(refusal)


def assert_commands_agree(path: Path, refusal: str | None) -> None:
    """`inspect`, `apply` and `export` end in one line and exit code 2 where `load` refuses."""
    logits, output = path.parent / "logits.npy", path.parent / "labels.npz"
    np.save(logits, np.zeros((2, N_CLASSES), np.float32))
    for arguments in (
        ["inspect", path],
        ["inspect", path, "--json"],
        ["apply", path, logits, "-o", output, "--force", "--quiet"],
        ["export", path, "-o", path.parent / "rule.json", "--force", "--quiet"],
    ):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])

        assert isinstance(result.exception, SystemExit | None), result.exception
        assert result.exit_code in (0, 2)
        if refusal is not None and arguments[0] != "inspect":
            # inspect may take a file that is no rule for logits
            assert result.exit_code == 2
        if result.exit_code == 2:
            assert result.stdout == ""
            assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1


# bytes


def test_a_file_cut_short_anywhere_is_refused(rule):
    whole = rule.read_bytes()

    for length in range(0, len(whole), 41):
        rule.write_bytes(whole[:length])
        assert refusal_or_rule(rule) is not None
    assert_commands_agree(rule, refusal_or_rule(rule))


@LAW
@given(st.data())
def test_flipped_bits_are_refused_or_give_a_rule(rule, data):
    whole_rule().save(rule)
    damaged = bytearray(rule.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    rule.write_bytes(damaged)

    refusal_or_rule(rule)


@LAW
@given(st.binary(max_size=200))
@example(struct.pack("<Q", 2**63) + b"{}")
@example(struct.pack("<Q", 2**40) + b"{}")
@example(struct.pack("<Q", 2) + b"{}")
@example(b"")
@example(struct.pack("<Q", 100_000) + b"[" * 100_000)
def test_bytes_of_any_kind_are_no_rule(rule, data):
    rule.write_bytes(data)

    assert refusal_or_rule(rule) is not None


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(rule):
    header = json.dumps(
        {
            "__metadata__": {"calibrate": "{}"},
            "0.scale": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        }
    ).encode()
    rule.write_bytes(struct.pack("<Q", len(header)) + header)

    refusal = refusal_or_rule(rule)

    assert "must be a whole safetensors rule file" in refusal
    assert_commands_agree(rule, refusal)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rule.safetensors")

    refusal = refusal_or_rule(tmp_path / "rule.safetensors")

    assert refusal.endswith("must be a whole safetensors rule file, it is no file")


# the content

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.sampled_from([2**31, -(2**63), 2**63, 10**30, 1e308, -0.0, 0.5]),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(
            ["affine", "threshold", "top_k", "__class__", "logits", "probabilities", "\ud800"]
        ),
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)


def places(value: object, at: tuple = ()) -> list[tuple]:
    """Where values lie in a JSON value, from the outermost to the innermost."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else ())
    )
    return [at, *(place for key, part in inner for place in places(part, (*at, key)))]


@LAW
@given(st.data())
def test_content_of_any_kind_is_refused_or_gives_a_rule(rule, data):
    whole_rule().save(rule)
    content, arrays = parts_of(rule)
    place = data.draw(st.sampled_from(places(content)))
    value = data.draw(json_values)
    if place == ():
        content = value
    else:
        holder = content
        for key in place[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[place[-1]] = value
        else:
            del holder[place[-1]]
    written(rule, content, arrays)

    assert_commands_agree(rule, refusal_or_rule(rule))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, r"has format 2, this version reads up to 1: upgrade calibrate-multilabel"),
        ({"format": 2, "ops": "of another kind"}, "has format 2"),
        ({"format": 0}, "the rule's 'format' is missing or not what it must be"),
        ({"format": True}, "the rule's 'format' is missing or not what it must be"),
        ({"n_classes": True}, "the rule's 'n_classes' is missing or not what it must be"),
        ({"n_classes": 2**24 + 1}, "the rule's 'n_classes' is missing or not what it must be"),
        ({"n_classes": 0}, "the rule's 'n_classes' is missing or not what it must be"),
        ({"n_classes": 10**30}, "whole numbers must be of 64 bits, got 1000000000"),
        ({"class_names": ["a", "b", 3]}, "the rule's 'class_names' is missing or not what it must"),
        ({"class_names": ["a", "a", "c"]}, "the class names do not match their hash"),
        ({"provenance": {"n_rows": float("nan")}}, "must be JSON: NaN is no number"),
    ],
)
def test_content_of_the_wrong_kind_is_refused_in_words(change, said, rule):
    content, arrays = parts_of(rule)
    written(rule, content | change, arrays)

    refusal = refusal_or_rule(rule)

    assert said in refusal
    assert_commands_agree(rule, refusal)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "must be JSON"),
        ('{"a":' * 60 + "1" + "}" * 60, "values must lie at most 50 deep within each other"),
        ('{"n_classes": ' + "9" * 10_000 + "}", "whole numbers must be of 64 bits"),
        ('{"n_rows": 1e999}', "numbers must be finite, got 1e999"),
        ("[]", "must be a JSON object"),
    ],
)
def test_json_that_would_break_a_reader_is_refused(text, said, rule):
    written(rule, text, {"0.scale": np.zeros(1, np.float32)})

    assert said in refusal_or_rule(rule)


def test_class_names_without_a_form_in_utf8_are_refused(rule):
    content, arrays = parts_of(rule)
    content["class_names"][0] = "\ud800"
    content["class_names_sha256"] = cal.data.names.names_hash(tuple(content["class_names"]))
    written(rule, content, arrays)

    assert "class names must be text that has a form in UTF-8" in refusal_or_rule(rule)


# the arrays

ODD_TYPES = [
    np.float64, np.float16, np.int8, np.int32, np.uint64, np.bool_, np.complex64,
    ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn,
]  # fmt: skip


@pytest.mark.parametrize("dtype", ODD_TYPES, ids=lambda dtype: dtype.__name__)
def test_an_array_of_another_type_is_refused(dtype, rule):
    content, arrays = parts_of(rule)
    try:
        written(rule, content, arrays | {"0.scale": np.ones(N_CLASSES).astype(dtype)})
    except Exception as error:  # safetensors cannot write it
        pytest.skip(f"safetensors writes no such array: {error}")

    refusal = refusal_or_rule(rule)

    assert "the rule's array '0.scale' must be of type F32 or I64, got " in refusal
    assert_commands_agree(rule, refusal)


numbers = st.one_of(
    st.floats(width=32), st.sampled_from([np.inf, -np.inf, np.nan, 3.4e38, -0.0, 1e-45, 1.0, 2.0])
)


@LAW
@given(st.data())
def test_arrays_of_any_kind_are_refused_or_give_a_rule(rule, data):
    whole_rule().save(rule)
    content, arrays = parts_of(rule)
    name = data.draw(st.sampled_from([*sorted(arrays), "9.scale", "stray", "0.scale.", ""]))
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = data.draw(st.sampled_from([np.float32, np.int64, np.float64]))
    size = int(np.prod(shape, dtype=int))
    if data.draw(st.integers(0, 4)) == 0:
        arrays.pop(name, None)
    elif dtype is np.int64:
        whole = st.integers(-3, 5) | st.sampled_from([2**62, -(2**63)])
        arrays[name] = np.array(
            data.draw(st.lists(whole, min_size=size, max_size=size)), dtype
        ).reshape(shape)
    else:
        found = data.draw(st.lists(numbers, min_size=size, max_size=size))
        arrays[name] = np.array(found, dtype).reshape(shape)
    written(rule, content, arrays)

    refusal = refusal_or_rule(rule)

    if refusal is None:
        # what is loaded decides
        cal.load(rule).predict(np.zeros((2, N_CLASSES), np.float32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"0.scale": np.ones((1, N_CLASSES), np.float32)}, "scale must be a number or one per"),
        ({"0.scale": np.ones(2, np.float32)}, "step 'affine' must be for 3 classes, got 2"),
        ({"0.scale": np.full(N_CLASSES, np.nan, np.float32)}, "scale must not hold nan"),
        ({"0.scale": np.full(N_CLASSES, np.inf, np.float32)}, "scale of an affine step must be"),
        ({"0.scale": np.ones(N_CLASSES, np.int64)}, "scale must be float32, of shape (3,), got"),
        ({"0.scale": None}, "parts of step 'affine' do not fit: '0.scale'"),
        ({"0.other": np.ones(1, np.float32)}, "the rule's array '0.other' is part of no step"),
        ({"2.indptr": np.array([0, 2**62], np.int64)}, "indptr must lead from 0 to the 2 knots"),
        ({"2.indptr": np.array([0, 1, 2], np.int64)}, "there must be 2 values and 2 slopes"),
        ({"2.indptr": np.array([0.0, 2.0], np.float32)}, "indptr must be int64, of shape (2,)"),
    ],
)  # fmt: skip
def test_an_array_that_does_not_fit_is_refused_in_words(change, said, rule):
    content, arrays = parts_of(rule)
    arrays = {name: a for name, a in (arrays | change).items() if a is not None}
    written(rule, content, arrays)

    refusal = refusal_or_rule(rule)

    assert said in refusal
    assert_commands_agree(rule, refusal)


def test_arrays_of_one_step_for_different_classes_are_refused(rule):
    Decision((), ops.WeightedTopK(1, np.ones(N_CLASSES), np.zeros(N_CLASSES)), N_CLASSES).save(rule)
    content, arrays = parts_of(rule)
    written(rule, content, arrays | {"0.offset": np.zeros(2, np.float32)})

    refusal = refusal_or_rule(rule)

    assert "the arrays of step 'weighted_top_k' must be for the same classes, got" in refusal


# what a rule says of its fit


@pytest.mark.parametrize(
    "provenance",
    [
        {"pipeline": 5},
        {"pipeline": [1]},
        {"pipeline": [{}]},
        {"pipeline": [{"step": "TopK", "findings": [{"code": "x"}]}]},
        {"pipeline": [{"step": "TopK", "findings": [], "report": 3}]},
        {"pipeline": [{"step": "TopK", "findings": [], "report": {}}]},
        {"pipeline": [{"step": "TopK", "findings": [], "report": {"in_words": [1]}}]},
        {"cross_fit": {"folds": 5}},
        {"cross_fit": [1]},
        {"n_rows": []},
    ],
)
def test_a_provenance_of_another_form_labels_rows_but_is_not_inspected(provenance, rule):
    content, arrays = parts_of(rule)
    written(rule, content | {"provenance": provenance}, arrays)

    refusal = CliRunner().invoke(main, ["inspect", str(rule)])

    assert cal.load(rule).predict(np.zeros((1, N_CLASSES), np.float32)).shape == (1, N_CLASSES)
    assert refusal.exit_code == 2
    assert refusal.stdout == ""
    assert refusal.stderr.startswith(f"Error: {rule}: what the rule says of its fit")
    assert len(refusal.stderr.splitlines()) == 1

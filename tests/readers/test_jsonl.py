"""`.jsonl` files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibrate.readers import open_label_file, open_matrix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.jsonl"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 8000))) | st.lists(st.lists(st.text())),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_is_written_is_read(path: Path, rows, ascii_only: bool, newline: str, ended: bool):
    lines = newline.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path.write_bytes((lines + newline * (ended and bool(rows))).encode())

    assert open_label_file(path) == rows


def test_an_empty_file_has_no_examples(path: Path):
    path.write_bytes(b"")

    assert open_label_file(path) == []


def test_objects_give_their_labels(path: Path):
    path.write_text('{"labels": [3, 1], "id": 7}\n{"labels": []}\n')

    assert open_label_file(path) == [[3, 1], []]


def test_objects_give_what_the_key_says(path: Path):
    path.write_text('{"tags": ["cat"], "labels": [1]}\n')

    assert open_label_file(path, key="tags") == [["cat"]]


def test_a_byte_order_mark_is_no_label(path: Path):
    path.write_bytes('\ufeff["cat"]\n'.encode())

    assert open_label_file(path) == [["cat"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", r"must be a list of labels, got a blank line: no labels are \[\]"),
        ("   ", r"must be a list of labels, got a blank line"),
        ("[1, 2", "must be JSON in UTF-8"),
        ("cat, dog", "must be JSON in UTF-8"),
        ("[" * 100_000, "must be JSON in UTF-8"),
        ("3", "must be a list of ids or names, got 3"),
        ('"cat"', "must be a list of ids or names, got 'cat'"),
        ("null", "must be a list of ids or names, got None"),
        ('{"tags": [1]}', r"must have the key 'labels', got \['tags'\]"),
        ('{"labels": 4}', "must be a list of ids or names, got 4"),
        ("[true]", "must hold ids .* got True"),
        ("[1.0]", "must hold ids .* got 1.0"),
        ("[NaN]", "must hold ids .* got nan"),
        ("[null]", "must hold ids .* got None"),
        ("[[1]]", r"must hold ids .* got \[1\]"),
        ('["cat"]', r"must keep to ids \(integers\), as the lines before, got 'cat'"),
    ],
)
def test_a_bad_line_is_named_by_its_number(line: str, message: str, path: Path):
    path.write_text(f"[1]\n[]\n{line}\n[2]\n")

    with pytest.raises(ValueError, match=f"line 3 of {path} {message}"):
        open_label_file(path)


def test_a_blank_last_line_is_an_example_too_many(path: Path):
    path.write_text("[1]\n\n")

    with pytest.raises(ValueError, match="line 2 of"):
        open_label_file(path)


def test_bytes_that_are_not_utf8_are_refused(path: Path):
    path.write_bytes('["größe"]\n'.encode("latin-1"))

    with pytest.raises(ValueError, match=r"line 1 of .* must be JSON in UTF-8"):
        open_label_file(path)


def test_label_lists_are_no_logits(path: Path):
    path.write_text("[1]\n")

    with pytest.raises(ValueError, match=r"a matrix can be read from .*got the suffix '\.jsonl'"):
        open_matrix(path)

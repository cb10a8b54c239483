"""Files of class names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibrate.readers import read_class_names

names = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff")), min_size=1)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@in_one_folder
@given(names, st.sampled_from(["\n", "\r\n"]))
def test_every_name_but_its_newline_is_kept(tmp_path: Path, written: list[str], newline: str):
    path = tmp_path / "names.txt"
    path.write_bytes("".join(name + newline for name in written).encode())

    assert read_class_names(path) == tuple(written)


@in_one_folder
@given(names)
def test_a_json_list_is_kept(tmp_path: Path, written: list[str]):
    path = tmp_path / "names.json"
    path.write_text(json.dumps(written))

    assert read_class_names(path) == tuple(written)


def test_a_last_line_without_a_newline_counts(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text("cat\n dog \nbird")

    assert read_class_names(str(path)) == ("cat", " dog ", "bird")


def test_only_one_empty_line_at_the_end_is_dropped(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text("cat\n\n\n")

    assert read_class_names(path) == ("cat", "", "")


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\n".encode())

    assert read_class_names(path) == ("cat",)


def test_an_empty_file_names_no_class(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_bytes(b"")

    assert read_class_names(path) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"cat": 0}', "must be a JSON list of class names, got a dict"),
        ('["cat", 3]', "must hold strings only, got 3 at class 1"),
        ('["cat"', "must be a JSON list of class names: "),
    ],
)
def test_other_json_is_refused(content: str, message: str, tmp_path: Path):
    path = tmp_path / "names.json"
    path.write_text(content)

    with pytest.raises(ValueError, match=f"{path} {message}"):
        read_class_names(path)


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_text_that_is_not_utf8_is_refused(suffix: str, tmp_path: Path):
    path = tmp_path / f"names{suffix}"
    path.write_bytes('["größe"]'.encode("latin-1"))

    with pytest.raises(ValueError, match=f"{path} must be text in UTF-8"):
        read_class_names(path)


def test_another_suffix_is_refused(tmp_path: Path):
    path = tmp_path / "names.csv"
    path.write_text("cat")

    with pytest.raises(ValueError, match=r"class names can be read from \.txt, \.json, got .*csv"):
        read_class_names(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*names\.txt"):
        read_class_names(tmp_path / "names.txt")

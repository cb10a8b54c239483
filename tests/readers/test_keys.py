"""Which array of several is meant."""

from __future__ import annotations

import pytest

from calibrate.readers.keys import LABELS_KEYS, LOGITS_KEYS, choose_key, refuse_key


def choose(shapes: dict[str, tuple[int, ...] | None], key: str | None = None, known=LOGITS_KEYS):
    return choose_key(list(shapes), key, known, shapes.get, "run.npz")


@pytest.mark.parametrize("name", ["logits", "scores", "preds", "predictions"])
def test_the_usual_names_of_logits_are_found(name: str):
    assert choose({"a": (3, 2), name: (3, 2), "labels": (3, 2)}) == name


@pytest.mark.parametrize("name", ["labels", "targets", "y_true"])
def test_the_usual_names_of_labels_are_found(name: str):
    assert choose({"a": (3, 2), name: (3, 2), "logits": (3, 2)}, known=LABELS_KEYS) == name


def test_of_two_usual_names_the_first_in_the_documented_order_wins():
    assert choose({"preds": (3, 2), "logits": (3, 2)}) == "logits"


def test_the_key_that_is_given_wins():
    assert choose({"logits": (3, 2), "other": (3, 2)}, key="other") == "other"


def test_the_only_matrix_is_taken_whatever_its_name():
    assert choose({"arr_0": (3, 2), "ids": (3,), "note": None}) == "arr_0"


def test_the_only_member_is_taken_to_be_judged_by_its_reader():
    assert choose({"arr_0": (3,)}) == "arr_0"


def test_two_matrices_are_listed_with_the_way_to_choose():
    with pytest.raises(
        ValueError, match=r"run\.npz .* got a \(3, 2\), b \(3, 2\): give the key .*--logits-key"
    ):
        choose({"a": (3, 2), "b": (3, 2)})


def test_a_key_that_is_not_there_is_named_beside_those_that_are():
    with pytest.raises(ValueError, match=r"must hold 'c', got a \(3, 2\), ids \(3,\)"):
        choose({"a": (3, 2), "ids": (3,)}, key="c")


def test_an_empty_file_is_said_to_be_empty():
    with pytest.raises(ValueError, match="got no arrays"):
        choose({})


def test_a_long_list_of_members_is_cut():
    with pytest.raises(ValueError, match="and 7880 more"):
        choose({f"class_{index}": (3,) for index in range(7900)})


def test_a_key_for_a_nameless_array_is_refused():
    with pytest.raises(ValueError, match="one array without a name: give no key, got 'logits'"):
        refuse_key("logits", "a.npy")

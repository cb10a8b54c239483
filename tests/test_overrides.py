import math

import pytest

from calibrate import overrides

NAMES = ("jazz", "rock 1", "rock 2", "rock*", "pop")


def test_a_name_is_one_class_and_a_pattern_all_that_match():
    found = overrides.matched({"rock ?": overrides.never, "pop": overrides.always}, 5, NAMES)

    assert found == {1: overrides.never, 2: overrides.never, 4: overrides.always}


def test_the_classes_come_in_their_order_whatever_that_of_the_keys():
    found = overrides.matched({"pop": overrides.always, "jazz": overrides.never}, 5, NAMES)

    assert list(found) == [0, 4]


def test_a_name_that_reads_as_a_pattern_is_the_class_of_that_name_alone():
    assert overrides.matched({"rock*": overrides.never}, 5, NAMES) == {3: overrides.never}


def test_the_last_match_holds():
    given = {"*": overrides.never, 2: overrides.always, "pop": overrides.at_threshold(1.5)}

    found = overrides.matched(given, 5, NAMES)

    assert found[0] == found[1] == found[3] == overrides.never
    assert found[2] == overrides.always
    assert found[4] == overrides.Override(threshold=1.5)


def test_patterns_look_at_upper_and_lower_case():
    with pytest.raises(ValueError, match=r"no class is named 'Rock\*' or like it, as class 0"):
        overrides.matched({"Rock*": overrides.never}, 5, NAMES)


def test_without_names_a_number_may_come_as_text():
    assert overrides.matched({"1": overrides.never}, 2, None) == {1: overrides.never}


def test_with_names_text_of_digits_is_a_name():
    assert overrides.matched({"1": overrides.never}, 2, ("1", "0")) == {0: overrides.never}


@pytest.mark.parametrize(
    ("key", "names", "error", "message"),
    [
        (5, NAMES, ValueError, "must be from 0 to 4, got 5"),
        (-1, NAMES, ValueError, "must be from 0 to 4, got -1"),
        ("7", None, ValueError, "must be from 0 to 4, got 7"),
        ("rock", None, ValueError, "classes have no names, so that 'rock' matches none"),
        ("rok 1", NAMES, ValueError, r"as class 0 \('jazz'\) and class 1 \('rock 1'\) are"),
        (True, NAMES, TypeError, "a number, a name or a pattern, got True"),
        (1.0, NAMES, TypeError, "a number, a name or a pattern, got 1.0"),
    ],
)
def test_a_key_that_matches_nothing_is_refused(key, names, error, message):
    with pytest.raises(error, match=message):
        overrides.matched({key: overrides.never}, 5, names)


def test_a_value_that_is_no_override_is_refused():
    with pytest.raises(TypeError, match=r"override of 'pop' must be made by calibrate.overrides"):
        overrides.matched({"pop": "never"}, 5, NAMES)


def test_a_probability_becomes_its_logit():
    assert overrides.at_probability(0.5).threshold == 0
    assert overrides.at_probability(0.2).threshold == pytest.approx(math.log(0.25), rel=1e-15)


@pytest.mark.parametrize(
    "override",
    [
        overrides.always,
        overrides.never,
        overrides.at_threshold(-2.5),
        overrides.with_min_precision(0.75),
        overrides.with_min_recall(1.0),
    ],
    ids=repr,
)
def test_what_goes_into_a_file_comes_back(override):
    assert overrides.from_json(override.as_json()) == override


def test_a_file_may_say_probability():
    assert overrides.from_json({"probability": 0.3}) == overrides.at_probability(0.3)


def test_only_bounds_leave_the_threshold_to_the_fit():
    assert overrides.with_min_recall(0.5).is_bound
    assert overrides.with_min_precision(0.5).is_bound
    assert not overrides.always.is_bound
    assert not overrides.at_threshold(0.0).is_bound


@pytest.mark.parametrize(
    "value",
    ["sometimes", 3, None, {}, {"cut": 1}, {"threshold": 1, "probability": 0.5}, ["never"]],
    ids=repr,
)
def test_what_is_no_override_in_a_file_is_refused(value):
    with pytest.raises(ValueError, match='must be "always", "never" or one of threshold'):
        overrides.from_json(value)


@pytest.mark.parametrize(
    ("make", "number", "error", "message"),
    [
        (overrides.at_threshold, math.inf, ValueError, "finite, got inf: take always or never"),
        (overrides.at_threshold, math.nan, ValueError, "threshold must be finite, got nan"),
        (overrides.at_threshold, "1", TypeError, "threshold must be a number, got '1'"),
        (overrides.at_threshold, True, TypeError, "threshold must be a number, got True"),
        (overrides.at_probability, 0, ValueError, "above 0 and below 1, got 0"),
        (overrides.at_probability, 1, ValueError, "above 0 and below 1, got 1"),
        (overrides.at_probability, math.nan, ValueError, "above 0 and below 1, got nan"),
        (overrides.with_min_precision, 0, ValueError, "min_precision must be above 0"),
        (overrides.with_min_precision, 1.01, ValueError, "at most 1, got 1.01"),
        (overrides.with_min_recall, -0.5, ValueError, "min_recall must be above 0"),
        (overrides.with_min_recall, None, TypeError, "min_recall must be a number, got None"),
    ],
)
def test_numbers_out_of_range_are_refused(make, number, error, message):
    with pytest.raises(error, match=message):
        make(number)

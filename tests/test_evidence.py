"""SECURITY.md names tests; a run of all of them says whether they passed. Here: that what is missing is seen."""

from tests import evidence


def test_all_marked_tests_passed_and_nothing_is_missing() -> None:
    everything = {test for marks in evidence.shown().values() for tests in marks.values() for test in tests}
    assert evidence.missing(everything) == []


def test_a_marked_test_that_did_not_pass_is_named_with_its_row() -> None:
    marks = evidence.shown()["security"]
    everything = {test for marks in evidence.shown().values() for tests in marks.values() for test in tests}
    lost = marks["3"][0]
    assert f"security 3: {lost} has not passed" in evidence.missing(everything - {lost})

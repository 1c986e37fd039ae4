"""The manuals name tests; a run of all of them says whether they passed. Here: that what is missing is seen."""

import pytest

from tests import evidence

pytest_plugins = ["pytester"]


def everything() -> set[str]:
    shown = (test for marks in evidence.shown().values() for tests in marks.values() for test in tests)
    return {test for each in shown for test in evidence.tests_of(each)}


def test_all_marked_tests_passed_and_nothing_is_missing() -> None:
    assert evidence.missing(everything()) == []


def test_each_module_of_the_conformance_plan_has_one_test_of_its_own() -> None:
    tests = evidence.shown()["conformance"].values()
    assert [len(each) for each in tests] == [1] * len(tests)
    assert len({test for each in tests for test in each}) == len(tests) >= 33


def test_a_marked_test_that_did_not_pass_is_named_with_its_row() -> None:
    marks = evidence.shown()["security"]
    lost = marks["3"][0]
    assert f"security 3: {lost} has not passed" in evidence.missing(everything() - {lost})


def test_where_a_whole_file_is_marked_each_of_its_tests_has_to_pass() -> None:
    marks = evidence.shown()["security"]
    file = next(each for tests in marks.values() for each in tests if "::" not in each)
    assert len(evidence.tests_of(file)) > 1
    lost = evidence.tests_of(file)[-1]
    assert {each.partition(": ")[2] for each in evidence.missing(everything() - {lost})} == {f"{lost} has not passed"}


@pytest.mark.parametrize("more", [["-p", "xdist", "-n1"], ["-k", "two or three"]], ids=["distributed", "selected"])
def test_a_test_has_passed_when_all_its_variants_have_wherever_they_ran(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    # Loading all that other tests need takes longer than these.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nmarkers = security")
    pytester.makepyfile(
        test_it="""
        import pytest
        pytestmark = pytest.mark.security(1)
        @pytest.mark.parametrize("way", ["one", "two"])
        def test_both(way): pass
        def test_one(): pass
        def test_three(): pass
        @pytest.mark.parametrize("way", ["two", "three"])
        def test_skipped(way):
            if way == "three": pytest.skip("no server")
        @pytest.mark.skip
        def test_three_too(): pass
        @pytest.mark.xfail
        def test_three_and_fails(): assert False
        """
    )
    pytester.runpytest_subprocess("-q", "-p", "tests.evidence", "--evidence", "passed", *more)
    passed = {"test_it.py::test_both", "test_it.py::test_one", "test_it.py::test_three"}
    if "-k" in more:
        passed = {"test_it.py::test_three"}
    assert set((pytester.path / "passed").read_text().split()) == passed

"""The laws of recommenders, one test each."""

from recommenders.conformance import parametrize_with_checks


@parametrize_with_checks(["trending"])
def test_conformance(conformance):
    conformance()

"""What early records leave to be known by name, and that what a record says itself stands."""

from kits.records import KNOWN, record

from zobench.report.known import KnownNames, filled
from zobench.report.leaderboard import render

SOURCES = KnownNames(sources={"ours": {"nature": "private"}})


def bare(estimator, **more):
    """A record as it was before records said what part they play."""
    return {key: value for key, value in record(estimator, **more).items() if key != "stands"}


def test_early_records_are_known_by_name():
    said = [one.get("stands") for one in filled(map(bare, ("mezo", "zero_shot", "adamw")), KNOWN)]
    assert said == ["control", "untouched", "reference"]
    (one,) = filled([bare("mezo", data="ours")], SOURCES)
    assert one["data"]["source"] == {"nature": "private"}


def test_what_a_record_says_itself_stands():
    mine = {**bare("mezo", data="ours"), "stands": "reference", "data": {"source": {"about": "as it was"}}}
    assert filled([mine], KnownNames({"mezo": "untouched"}, sources=SOURCES.sources)) == [mine]


def test_a_record_is_a_reference_wherever_it_is_read():
    """Without the plugin that brought the estimator: the record says it."""
    mine = {**bare("upper_bound"), "stands": "reference"}
    assert "| *upper_bound*" in render([mine, record("mezo")]) and "| *mezo*" not in render([mine, record("mezo")])


def test_known_records_are_not_changed():
    one = bare("zero_shot", data="ours")
    before = dict(one)
    filled([one], KnownNames({"zero_shot": "untouched"}, sources=SOURCES.sources))
    assert one == before

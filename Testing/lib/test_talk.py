"""What long work talks with: parts of parts add up, and a request to stop is heard wherever one asks."""

from __future__ import annotations

import pytest

from DiffSegLungLib.errors import Cancelled
from DiffSegLungLib.talk import SILENT, Talk


def test_a_part_of_a_part_knows_what_share_of_the_whole_it_is() -> None:
    told: list[tuple[str, float, str]] = []
    whole = Talk(lambda *entry: told.append(entry)).at("lungs")
    half = whole.part(0.5, 1.0)
    half.part(0.2, 0.6).advance(0.5, "in the middle")
    half.advance(1.0)
    assert told == [("lungs", pytest.approx(0.7), "in the middle"), ("lungs", 1.0, "")]


def test_a_stage_is_told_at_both_ends_and_timed() -> None:
    told: list[tuple[str, float, str]] = []
    seconds: dict[str, float] = {}
    with Talk(lambda *entry: told.append(entry)).part(0.3, 0.4).enter("grid", seconds) as stage:
        stage.advance(0.25)
    assert told == [("grid", 0.0, ""), ("grid", 0.25, ""), ("grid", 1.0, "")]
    assert seconds.keys() == {"grid"} and seconds["grid"] >= 0.0


def test_a_request_to_stop_names_the_stage_and_is_told_no_further() -> None:
    told: list[tuple[str, float, str]] = []
    talk = Talk(lambda *entry: told.append(entry), cancelled=lambda: True).at("fusion")
    for ask in (talk.check, lambda: talk.part(0.1, 0.2).advance(0.5)):
        with pytest.raises(Cancelled, match="during fusion"):
            ask()
    assert told == []


def test_a_failed_stage_has_no_end_and_no_time() -> None:
    told: list[tuple[str, float, str]] = []
    seconds: dict[str, float] = {}
    talk = Talk(lambda *entry: told.append(entry))
    with pytest.raises(ZeroDivisionError), talk.enter("read", seconds):
        raise ZeroDivisionError
    assert told == [("read", 0.0, "")]
    assert seconds == {}


def test_nobody_needs_to_listen() -> None:
    SILENT.advance(0.5)
    SILENT.note("nothing")
    SILENT.check()

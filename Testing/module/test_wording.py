"""Numbers as people say them: no more precise than anybody can know."""

import math

import pytest
from DiffSegLungPanel.panes.run_pane import progressText
from DiffSegLungPanel.wording import durationText, listText, memoryText, numberText
from DiffSegLungPanel.work.tasks import TaskProgress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (9.4, "9 s"),
        (12, "10 s"),
        (43, "45 s"),
        (100, "2 min"),
        (3000, "50 min"),
        (5400, "1.5 h"),
    ],
)
def test_durations(seconds, text):
    assert durationText(seconds) == text


def test_memory_lists_and_numbers():
    assert memoryText(1.52) == "1.5 GB"
    assert [listText(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert (numberText(-1234.56, 1), numberText(math.nan)) == ("−1,234.6", "–")


def test_progress_is_a_stage_a_percentage_and_the_time_left():
    assert progressText(TaskProgress("Computing features", 0.43, 21)) == (
        "Computing features, 43 %, about 20 s left"
    )
    assert progressText(TaskProgress("", 0.0)) == "Starting, 0 %"

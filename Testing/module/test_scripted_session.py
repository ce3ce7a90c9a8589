"""The scripted session of `Testing/benchmarks` says where a result lies, whatever classes its chest has."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
from headless_slicer import Host
from panels import add_result, paint

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_result_lies_where_it_belongs(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, consolidated: bool
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import slicer_session

    ct, node = add_result(tmp_path)
    if not consolidated:
        paint(node, "Segment_emphysema", ct, (slice(None),) * 3)
    path = tmp_path / "ct.nii.gz"
    slicer.util.saveNode(ct, str(path))
    found = slicer_session.alignment(node, ct, path, tmp_path)
    assert (found["segment"] == "Segment_consolidation") == consolidated
    assert found["index_by_mrml"] == found["index_by_simpleitk"]
    assert found["hu_by_mrml"] == found["hu_by_simpleitk"]
    assert found["saved_label_there_is_the_segments"]
    assert found["lesion_ml"] > 0

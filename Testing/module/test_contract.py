"""The panel's contract with its logic: the module's own logic keeps it, name by name."""

from __future__ import annotations

import inspect

import pytest
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.panes.contract import PanelLogic

METHODS = [name for name in dir(PanelLogic) if not name.startswith("_") and name != "isBusy"]


@pytest.mark.parametrize("name", METHODS)
def test_the_logic_takes_what_the_panel_gives(name: str) -> None:
    asked = inspect.signature(getattr(PanelLogic, name)).parameters
    there = inspect.signature(getattr(DiffSegLungLogic, name)).parameters
    assert set(asked) <= set(there)
    assert all(there[parameter].kind is asked[parameter].kind for parameter in asked)
    others = [parameter for key, parameter in there.items() if key not in asked]
    assert all(parameter.default is not parameter.empty for parameter in others)


def test_whether_it_works_is_a_property() -> None:
    assert isinstance(inspect.getattr_static(DiffSegLungLogic, "isBusy"), property)
    assert {"segment", "generate", "train", "compareModels", "estimate"} <= set(METHODS)

"""What the tissues measure in a lung at full inspiration, for tests of what imitates them."""

from __future__ import annotations

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS

DENSITIES = {
    EMPHYSEMA: (-965.0, 25.0),
    GROUND_GLASS: (-600.0, 110.0),
    FIBROSIS: (-550.0, 200.0),
    CONSOLIDATION: (-20.0, 90.0),
}
"""Mean and standard deviation in HU, by class."""

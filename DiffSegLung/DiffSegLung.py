"""DiffSegLung in 3D Slicer: the place where Slicer looks. The panel lives in DiffSegLungPanel."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

FOLDER = Path(__file__).resolve().parent
if (FOLDER.parent / "DiffSegLungLib").is_dir() and str(FOLDER.parent) not in sys.path:
    sys.path.append(str(FOLDER.parent))  # in a checkout; an installation has the library beside this file

from DiffSegLungPanel.logic import DiffSegLungLogic  # noqa: E402
from DiffSegLungPanel.scene.terminology import loadTerminology  # noqa: E402
from DiffSegLungPanel.steps.install import Installer  # noqa: E402
from DiffSegLungPanel.steps.sample_data import SAMPLE_NAME, loadPhantom, registerSampleData  # noqa: E402
from DiffSegLungPanel.widget import Panel  # noqa: E402

__all__ = ["DiffSegLung", "DiffSegLungLogic", "DiffSegLungTest", "DiffSegLungWidget", "loadPhantom"]


class DiffSegLung(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("DiffSegLung")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        # Slicer loads these before, and unloads them after, this module, whose panel embeds their widgets.
        parent.dependencies = [
            "Plots",
            "Segmentations",
            "SubjectHierarchy",
            "Tables",
            "Terminologies",
            "Volumes",
        ]
        parent.contributors = ["DiffSegLung developers"]
        parent.helpText = _(
            "Segments healthy lung, emphysema, ground glass, fibrosis, consolidation and cavities in chest "
            "CT, with volumes and a map of where the model is unsure. Nothing leaves this computer. "
            "Research use only; not a medical device."
        )
        parent.acknowledgementText = _(
            "After the paper DiffSegLung by Fetita, Brillet and Khiati (arXiv 2605.11758). "
            "The data behind the shipped model are named in its card."
        )
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)

    def onStartupCompleted(self) -> None:
        """Offer the terminology and the sample data; nothing heavy, nothing from the network."""
        loadTerminology(slicer.modules.terminologies.logic())
        registerSampleData(FOLDER / "Resources" / "Icons")


class DiffSegLungWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's widget: makes the panel and passes Slicer's calls on to it."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: DiffSegLungLogic | None = None
        self.panel: Panel | None = None

    def setup(self) -> None:
        """Build the panel, once."""
        super().setup()
        root = slicer.util.loadUI(self.resourcePath("UI/DiffSegLung.ui"))
        self.layout.addWidget(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic = DiffSegLungLogic()
        self.panel = Panel(slicer.util.childWidgetVariables(root), self.logic, slicer.mrmlScene, root)

    def enter(self) -> None:
        """The module was opened."""
        self.panel.enter()

    def exit(self) -> None:
        """Another module was opened."""
        self.panel.exit()

    def cleanup(self) -> None:
        """Slicer quits or the module is reloaded."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()

    def onReload(self) -> None:
        """Reload everything that belongs to the module (developer mode).

        Forgotten rather than reloaded one by one: the new module file imports all of it anew, each file after
        those that it needs, so that no old class is left anywhere.
        """
        own = ("DiffSegLungPanel", "DiffSegLungLib")
        for name in [name for name in sys.modules if name.split(".")[0] in own]:
            del sys.modules[name]
        super().onReload()


class DiffSegLungTest(ScriptedLoadableModuleTest):
    """Self-test, inside Slicer ("Reload and Test") and in the project's own test runs."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test; where one is skipped say why, since Slicer shows a skip as a failure here."""
        self.setUp()
        try:
            self.test_phantom()
        except unittest.SkipTest as skipped:
            slicer.util.infoDisplay(str(skipped), windowTitle=_("DiffSegLung"))

    def test_phantom(self) -> None:
        """Generate the sample CT, segment it with the fast preset and compare where the result lies.

        Skipped, with a word, where the worker's packages are not installed yet: a build machine has none, and
        a test installs nothing.
        """
        missing = Installer().missing()
        if missing:
            names = ", ".join(missing)
            self.skipTest(
                _(
                    "The self-test was not run, since there is no {names} yet. "
                    "Press Apply once, which installs what is missing."
                ).format(names=names)
            )
        volume = loadPhantom()
        self.assertEqual(volume.GetName(), SAMPLE_NAME)
        logic = DiffSegLungLogic()
        segmentation = logic.segment(volume, preset="fast")
        segments = segmentation.GetSegmentation()
        self.assertEqual(segments.GetNumberOfSegments(), 7)
        hu = slicer.util.arrayFromVolume(volume)
        consolidation = slicer.util.arrayFromSegmentBinaryLabelmap(
            segmentation, "Segment_consolidation", volume
        )
        emphysema = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "Segment_emphysema", volume)
        self.assertGreater(hu[consolidation > 0].mean(), -300)
        self.assertLess(hu[emphysema > 0].mean(), -900)
        self.delayDisplay(_("Test passed"))

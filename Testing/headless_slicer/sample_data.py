"""The module SampleData: sources are registered and found as in Slicer; nothing is downloaded.

A button of the Sample Data panel is `host.samples.click("name")`: it calls the source's custom downloader
with the source, or loads its files from the cache folder if a test has put them there.
"""

from __future__ import annotations

import logging
import types
from pathlib import Path
from typing import Any

import slicer


class SampleDataSource:
    """One entry of the Sample Data panel. Lists, or single values for one file; `uris` and `fileNames` are
    needed.
    """

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
    ) -> None:
        if uris is None or fileNames is None:
            raise TypeError("SampleDataSource needs uris and fileNames, with a custom downloader, too")
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        single = isinstance(uris, str)
        self.uris = [uris] if single else list(uris)
        self.fileNames = [fileNames] if single else list(fileNames)
        count = len(self.uris)
        self.nodeNames = _listed(nodeNames, single, count)
        self.checksums = _listed(checksums, single, count)
        self.loadFiles = _listed(loadFiles, single, count)
        types_ = (
            [loadFileType] * count
            if single or isinstance(loadFileType, str)
            else loadFileType or [None] * count
        )
        self.loadFileType = [kind or "VolumeFile" for kind in types_]
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileProperties = dict(loadFileProperties or {})
        lengths = {
            len(part) for part in (self.fileNames, self.nodeNames, self.checksums, self.loadFiles, types_)
        }
        if lengths != {count}:
            raise ValueError("All fields of sample data source must have the same length")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SampleDataSource) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def _listed(value: Any, single: bool, count: int) -> list[Any]:
    if single:
        return [value]
    return [None] * count if value is None else list(value)


class SampleDataLogic:
    """Sources live in `slicer.modules.sampleDataSources`, {category: [source]}."""

    def __init__(self, logMessage: Any = None) -> None:
        self.logMessage = logMessage

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = "VolumeFile",
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Slicer's signature: there is no `sampleDescription`, the button shows the sample's name."""
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileType=loadFileType,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
        )
        known = SampleDataLogic.sampleDataSourcesByCategory().setdefault(category, [])
        if source not in known:
            known.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category: str, source: SampleDataSource) -> bool:
        return source in SampleDataLogic.sampleDataSourcesByCategory(category)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        sources = (source for group in self.sampleDataSourcesByCategory().values() for source in group)
        return next((source for source in sources if source.sampleName == sampleName), None)

    def downloadFromSource(self, source: SampleDataSource, maximumAttemptsCount: int = 3) -> list[Any]:
        """Loads the source's files from the cache folder, whatever is there under their names.

        As in Slicer a custom downloader is not asked, and what cannot be had is logged and left out; here
        there is no network.
        """
        folder = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
        nodes = []
        for uri, name, node_name, kind in zip(
            source.uris, source.fileNames, source.nodeNames, source.loadFileType, strict=True
        ):
            path = f"{folder}/{name}"
            if not Path(path).exists():
                logging.error("Failed to download %s to %s", uri, path)
                continue
            properties = {**source.loadFileProperties, "name": node_name}
            nodes.append(slicer.util.loadNodeFromFile(path, kind, properties))
        return nodes

    def downloadSamples(self, sampleName: str) -> list[Any]:
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source is not None else []

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


class Samples:
    """The host's side of Sample Data."""

    def make_module(self) -> types.ModuleType:
        """The module that `import SampleData` finds."""
        module = types.ModuleType("SampleData", __doc__)
        module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
        module.downloadSample = lambda name: SampleDataLogic().downloadSample(name)
        module.downloadSamples = lambda name: SampleDataLogic().downloadSamples(name)
        return module

    @property
    def registered(self) -> list[tuple[str, SampleDataSource]]:
        """(category, source) of everything registered."""
        groups = SampleDataLogic.sampleDataSourcesByCategory()
        return [(category, source) for category, sources in groups.items() for source in sources]

    def click(self, name: str) -> Any:
        """The user clicks a sample's button. Raises KeyError for a name that nobody registered."""
        source = SampleDataLogic().sourceForSampleName(name)
        if source is None:
            raise KeyError(name)
        if source.customDownloader is not None:
            return source.customDownloader(source)
        return SampleDataLogic().downloadFromSource(source)

"""A test-only stand-in for the Slicer application on Slicer's real MRML (slicer-core); see README.md."""

from .host import Host, start

__all__ = ["Host", "start"]

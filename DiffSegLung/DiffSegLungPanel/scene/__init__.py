"""The MRML scene: reading the CT from it, writing segmentations, tables and charts into it."""

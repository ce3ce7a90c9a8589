"""The panel of the DiffSegLung module: MRML, Qt and processes. The science lives in DiffSegLungLib."""

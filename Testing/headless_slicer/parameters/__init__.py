"""`slicer.parameterNodeWrapper` and its connection to widgets."""

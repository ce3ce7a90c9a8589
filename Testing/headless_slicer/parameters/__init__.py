"""`slicer.parameterNodeWrapper`: types, packs and storage of parameters, and their connection to widgets."""

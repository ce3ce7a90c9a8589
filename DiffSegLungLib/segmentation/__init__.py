"""From a CT to labels: features, mixture, names, fusion; the pipeline that everybody calls."""

"""What a button starts, step by step between the scene and the worker."""

"""Work that never blocks the scene: tasks, the worker process, temporary folders."""

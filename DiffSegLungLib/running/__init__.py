"""One command as a process: progress, the request to stop, its output folder, its children."""

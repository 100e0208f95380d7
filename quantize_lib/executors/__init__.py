"""Start workers: as a child process, or in a container."""

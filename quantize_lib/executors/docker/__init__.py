"""The Docker executor: each job runs in a container of its own."""

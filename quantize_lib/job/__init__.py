"""What travels between host and worker: the job, its result, and what is reported on the way."""

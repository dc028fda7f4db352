"""The scheduler, executors, servers and progress of a run."""

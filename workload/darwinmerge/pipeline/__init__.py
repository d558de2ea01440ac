"""The plan, its tasks, the worker that does them, and the runner that drives workers on one machine."""

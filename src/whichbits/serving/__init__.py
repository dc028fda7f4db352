"""Workloads, the load put on a served checkpoint, the metrics of each rung, and capacity under latency limits."""

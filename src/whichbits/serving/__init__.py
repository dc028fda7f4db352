"""Workloads, the load put on a served checkpoint, and the metrics of each load level."""

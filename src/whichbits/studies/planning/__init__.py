"""From names to models, tasks, workloads and engines; the plan of steps with their keys; hours and dollars."""

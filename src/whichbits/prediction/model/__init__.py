"""The performance model: work, kernels, time of a step, serving."""

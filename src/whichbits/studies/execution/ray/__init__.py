"""A study on a Ray cluster: Ray places work and servers on nodes, and each node runs them as this machine would."""

"""Results joined item by item, their statistics, the decision on each format, and what to deploy."""

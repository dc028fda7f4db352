"""Results joined item by item, their statistics, the ruling on each format, and what to deploy."""

"""Which format where, within a budget."""

"""Accuracy tasks, scored item by item: generated, the user's own, lm-evaluation-harness's, and code that is executed."""

"""What several kinds of steps share: one that is planned, what it is given, engines, items, provenance."""

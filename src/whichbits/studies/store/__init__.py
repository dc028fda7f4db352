"""Results on disk, the manifest of a study, and locks."""

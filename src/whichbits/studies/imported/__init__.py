"""Results of other tools as a study: scores, speeds, or both in one store."""

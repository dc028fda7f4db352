"""The report of a study: one self-contained HTML page, the verdict as JSON, and a summary for the terminal."""

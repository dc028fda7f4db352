"""Results of other tools, read as evaluations: a file a tool."""

"""vLLM's server: command line, start, supervision, kernel check."""

"""Any OpenAI-compatible server over HTTP: connection, answers checked, retries."""

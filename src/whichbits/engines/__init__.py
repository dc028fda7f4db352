"""What runs a checkpoint: a vLLM server, any OpenAI-compatible endpoint, or transformers in emulation."""

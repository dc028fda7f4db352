"""Thinking modes: how families of models are switched between them, and what is thought before an answer."""

"""What the user asks for: the specification with positions of its mistakes, and presets."""

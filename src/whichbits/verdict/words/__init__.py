"""The verdict in English: its codes and numbers as a sentence, reasons and caveats.

No other module of the verdict has sentences of its own; what a step or a measurement said is quoted.
"""

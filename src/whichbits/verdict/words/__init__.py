"""The verdict in English: its codes and numbers as a sentence, reasons and caveats. Nothing else in it writes prose."""

"""What a load sends and when: arrivals, lengths, prompts, recorded logs."""

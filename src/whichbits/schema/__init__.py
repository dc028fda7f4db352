"""The contract of the store: what packages say to each other, as types."""

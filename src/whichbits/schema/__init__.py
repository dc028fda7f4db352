"""The contract of the store: what steps are labelled with and what they return, declared once and read as it was written."""

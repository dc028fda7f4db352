"""Arena-Hard (Li et al. 2024, arXiv 2406.11939): answers judged against a baseline's by a model."""

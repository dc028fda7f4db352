"""Speed and cost on hardware that is not available, with an interval; see docs/predict.md."""

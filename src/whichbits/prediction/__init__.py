"""Speed and cost on hardware that is not at hand, with an interval; see docs/predict.md."""

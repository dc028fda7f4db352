"""On what data a checkpoint is calibrated."""

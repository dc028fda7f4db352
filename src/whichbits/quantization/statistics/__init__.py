"""What is measured of the inputs, the loss and the residual stream."""

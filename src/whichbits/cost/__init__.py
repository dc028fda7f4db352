"""What serving a query costs: dated prices of devices and the formulas that turn speed into money."""

"""Looking at results while they come in, so that nothing is evaluated once it is decided, at the error that is stated."""

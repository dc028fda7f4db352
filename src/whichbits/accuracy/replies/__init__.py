"""What replies are like, whatever they say: how long, whether cut, whether they repeat themselves."""

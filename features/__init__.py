"""Tables and time in, account features out; knows nothing of models."""

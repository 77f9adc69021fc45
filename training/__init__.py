"""Dataset, split, fit, calibrate, evaluate, gate, register."""

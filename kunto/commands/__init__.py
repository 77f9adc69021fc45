"""The commands of `kunto`, by subject."""

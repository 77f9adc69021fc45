"""The store, and what stands on it."""

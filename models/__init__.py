"""Pure models: frames in, scores out; no files, no network."""

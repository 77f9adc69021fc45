"""Jobs: the lock, the steps that are done, the reports."""

"""Who may come in: API keys, users, their sessions, and the audit log."""

"""Webhooks, the events waiting for them, and their deliveries."""

"""The web app: server-rendered pages for the customer success manager."""

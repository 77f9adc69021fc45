"""The HTTP API: thin routes over the store and the models in use (interface.md "HTTP")."""

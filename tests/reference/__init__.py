"""A second, slow reading of domain.md: pandas over what was known at one T, one account at a time, to every feature."""

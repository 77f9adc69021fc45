"""`python -m kunto` is `kunto`."""

from kunto.cli import main

main()

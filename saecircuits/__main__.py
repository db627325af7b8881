"""`python -m saecircuits` is the command `saecircuits`."""

from saecircuits.cli import main

main()

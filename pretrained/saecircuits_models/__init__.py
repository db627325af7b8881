"""The shipped models of saecircuits, a folder each; `saecircuits.load_model` finds them here."""

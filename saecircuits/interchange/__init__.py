"""Interchange: circuits as files of other programs' formats, checked, and back.

Read `exporting` for the way through, `graph_file` for what travels.
"""

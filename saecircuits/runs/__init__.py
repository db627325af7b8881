"""Runs: a folder that holds everything about one circuit, written and read back.

Read `folder` for what it holds, then `writing` and `stored`.
"""

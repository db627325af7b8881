"""Features: what the features of a circuit fire on and promote, and what they are called.

Read `firing`, then `labels` and `dashboards`. Values in, values out: `runs` puts them into files.
"""

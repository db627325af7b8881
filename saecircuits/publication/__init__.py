"""Publication: what readers open of a run - page, card, picture - and what notebooks show.

Read `publish` for the way through, `views` for what is made.
"""

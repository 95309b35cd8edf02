"""What `stanzalake import` does: archives of other servers, read and put into ours.

A source (`pie`, `prosody_sql`) gives what it holds; the rest does not know which it was.
"""

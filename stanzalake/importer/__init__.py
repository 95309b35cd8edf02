"""`stanzalake import`: reads archives of other servers and writes them to the store.

Sources (`pie`, `prosody_sql`) yield items; the importer does not depend on the kind of source.
"""

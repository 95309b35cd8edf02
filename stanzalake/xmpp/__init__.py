"""XMPP: the component stream, XML and JIDs."""

"""The query service: answers the clients' archive requests (XEP-0313) from the store."""

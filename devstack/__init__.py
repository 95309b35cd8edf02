"""A complete deployment on loopback, for `make up`, `make demo` and the tests."""

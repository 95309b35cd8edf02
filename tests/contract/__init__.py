"""Tests that every implementation of an interface passes."""

"""Trains specialists and builds case indexes from a manifest."""

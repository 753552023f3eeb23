"""Phantoms, synthetic studies, a loopback PACS and private servers for tests and for the demo."""

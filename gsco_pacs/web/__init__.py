"""The administrator's pages and the same facts as JSON."""

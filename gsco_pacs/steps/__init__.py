"""One verb each; no step knows another."""

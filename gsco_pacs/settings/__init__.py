"""The groups of config.yaml, a module for each part of the node; config.py joins them."""

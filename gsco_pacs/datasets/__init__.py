"""Data sets with known truth, each read from its original distribution layout as a stream of evaluation cases."""

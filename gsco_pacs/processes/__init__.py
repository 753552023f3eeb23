"""One module for each operating-system process; the only place where parts are chosen and joined."""

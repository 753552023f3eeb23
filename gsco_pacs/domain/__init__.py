"""What the node speaks about: studies, findings, jobs and errors. Standard library only."""

"""The interfaces for users and programs: the command line, and scripts as jobs."""

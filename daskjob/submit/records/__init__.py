"""Records of the jobs that were submitted from here, in the user's state directory."""

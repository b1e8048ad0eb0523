"""What prepares a pod, as a process on this machine, with an index that the tests serve."""

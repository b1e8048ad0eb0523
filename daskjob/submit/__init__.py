"""What people and programs call: the command line, and how a script becomes a job."""

"""What differs between two jobs, or between two attempts of one."""

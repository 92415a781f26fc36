"""What ``mmickd bank`` does, a file for each kind of thing."""

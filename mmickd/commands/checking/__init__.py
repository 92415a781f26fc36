"""What ``check`` looks at, a subject per file."""

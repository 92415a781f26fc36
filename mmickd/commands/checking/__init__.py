"""Parts of ``mmickd check``."""

"""A distilled run: its options, checks, preparation and step."""

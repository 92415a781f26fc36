"""Options, checks, preparation and training step of a distilled run."""

"""Every case over the commits that changed its baselines: out of git, and from saved runs."""

"""The two groups of a scenario meet: texts that follow the labels (DRU), clusters (CHM) and instances (IHM)."""

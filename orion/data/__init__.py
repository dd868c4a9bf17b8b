"""Data: sources, field mapping, decontamination."""

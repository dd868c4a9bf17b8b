"""ORION: error-aware reasoning distillation as a reproducible pipeline of file artifacts."""

__version__ = "0.1.0"

"""The embedded default: generated word problems and a tiny student trained from scratch."""

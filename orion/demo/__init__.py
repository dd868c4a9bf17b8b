"""The embedded default: generated word problems with teacher traces, and a tiny student trained from scratch."""

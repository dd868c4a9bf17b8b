"""The console script ``orion``: one module per command group."""

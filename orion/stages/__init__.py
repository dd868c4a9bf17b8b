"""The stages: one module per rule, each with a command line."""

"""Models: documents, checkpoints, adapters, served models, chat templates."""

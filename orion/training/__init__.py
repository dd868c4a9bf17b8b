"""Fine-tuning on packed rows: what is loaded, how rows reach the model, what a step computes."""

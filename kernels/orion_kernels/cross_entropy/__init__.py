"""Cross-entropy of a linear head that never holds all logits in memory, in torch and in Triton."""

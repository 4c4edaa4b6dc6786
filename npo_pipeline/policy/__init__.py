"""Policies: a causal language model with its tokenizer, and the log-probs it gives to responses."""

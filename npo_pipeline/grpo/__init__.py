"""GRPO: advantages, surrogate losses and slot mixing as pure functions, and the training loop."""

"""A run over many processes ("ranks"): who they are, how they are started, and the few things they tell each other."""

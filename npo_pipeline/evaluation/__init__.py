"""Held-out runs: every policy sampled on held-out problems and benchmarks, judged and summarised."""

"""Near-Future Policy Optimization: GRPO whose groups are completed by guide trajectories of a later checkpoint."""

__version__ = "0.1.0"

"""AutoNPO: the warning (triggers), what is decided on it (decision), and the walk along a probe's log (planner)."""

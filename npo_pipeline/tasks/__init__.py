"""Where problems come from, how they are put to a policy, and who judges its answers."""

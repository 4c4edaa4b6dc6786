"""The methods over several training seeds: what they reached, how soon, and what that cost."""

"""Guides: where they come from, what they are worth (Q, V, S), when and from where to use them.

pool, generate, signal            the guide stage: whom to help, with what, and what that is worth
triggers, decision                AutoNPO: a warning, and what is decided on it
schedule, planner                 the plan: a file that a person can edit, and who writes it
scheduled, online, resample, replay, demonstrated      the methods, each a mixer (npo_pipeline.grpo.mixer)
"""

"""Guides: where they come from, what they are worth (Q, V, S), when and from where to use them.

pool, generate, signal      whom to help, with what, and what that is worth
schedule                    a plan of interventions, as a file that a person can edit
shards/                     the guide stage: made, scored, gathered, read again
autonpo/                    a warning, what is decided on it, the planner
scheduled, live             how a run follows a schedule; what one that decides live asks of the loaded policy
lead, averaged              whether averaged weights solve more than the live policy; what the methods that ask them share
methods/                    what a guided run mixes in, a file per kind of method
"""

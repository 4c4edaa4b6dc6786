"""Stages: one thin module each. Read the configuration and the inputs, call the package, write the outputs.

A stage imports torch only after its configuration and inputs were checked: bad input fails in a fraction of a second, and the
verifier's worker processes, which import the stage's main module again, stay small.
"""

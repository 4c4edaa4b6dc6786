"""Stages: entry points. Each reads its configuration, checks its inputs, and calls the room that does the work.

    prepare, probe, guide, plan, guided, evaluate, report       the pipeline, in this order
    adopt, teacher, demonstrate, benchmarks, comparison, measure       what only some experiments need
    cli                                                         options, exit codes

A stage imports torch only after its configuration and inputs were checked: bad input fails in a fraction of a second, and the
verifier's worker processes, which import the stage's main module again, stay small.
"""

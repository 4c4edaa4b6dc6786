"""Stages: one thin module each. Read the configuration and the inputs, call the package, write the outputs.

    prepare, probe, guide, plan, guided, evaluate, report       the pipeline, in this order; each is a command
    teacher, demonstrate, benchmarks, comparison, measure       what only some experiments need; commands too
    training, guide_maker, guide_signal, demonstrating, evaluation, measuring      the part of a stage that needs torch
    mixers, live, shards                                        what a guided run mixes in: its rules, and where it comes from
    cli                                                         options, exit codes

A stage imports torch only after its configuration and inputs were checked: bad input fails in a fraction of a second, and the
verifier's worker processes, which import the stage's main module again, stay small.
"""

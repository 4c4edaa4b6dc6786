"""A run that was made elsewhere as the probe: its checkpoints linked and named, its log and its roll-outs read, or prompts sampled.

sources       what an adopted checkpoint consists of, and where it lies on this machine
alike         whether all checkpoints, the initial policy and its tokenizer belong together
link          checkpoints/ of the probe: links, and a record with the policy's name
log           the run's log as metrics
completions   its logged roll-outs, matched to the problems and judged
sampled       without them: its checkpoints sampled on what a guided run will see
adopt         all of it, in this order
"""

"""Before training: the problems as the policy reads them, the initial policy, a teacher, the problems of held-out benchmarks.

adoption/ is a run that was made elsewhere, in the probe's place.
"""

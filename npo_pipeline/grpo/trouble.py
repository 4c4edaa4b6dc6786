"""Numeric trouble: when a run of skipped steps is given up.

A step whose loss, gradient or log-probs are not finite is skipped: weights and optimizer stay as they were, bit for bit, and the
metrics count it (`update/skipped`). The next step then has the same weights and other prompts. IN_A_ROW of them say that it is not
the prompts. No state is saved amid skipped steps, so a run that stops keeps the last ones from before them.
"""

from npo_pipeline.errors import NumericalError

IN_A_ROW = 5


class Trouble:
    """Counts the skipped steps in a row of a run that goes by `label`."""

    def __init__(self, label: str) -> None:
        self.label, self.row = label, 0

    def see(self, step: int, reason: str) -> None:
        """`reason` is why the step was skipped, "" if it was not. Raises NumericalError at the IN_A_ROW-th in a row."""
        self.row = self.row + 1 if reason else 0
        if self.row == IN_A_ROW:
            raise NumericalError(
                f"{self.label}: steps {step - IN_A_ROW + 1} to {step} were skipped one after the other, the last for {reason}. Weights and "
                "optimizer are as before them, and so is the last saved state: the same command tries again from there. If it comes back, "
                "lower grpo.learning_rate, or take policy.dtype=float32; another configuration starts anew"
            )

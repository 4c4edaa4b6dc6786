"""Does another policy solve more of what the live one fails? A running comparison of the two on the same prompts, one try each.

Of a pair of tries only one that solved what the other did not tells the two apart. If neither policy is better, each of these
discordant pairs is as likely to fall to either side, whatever the prompts (the sign test, or McNemar's). So with `won` and `lost` of
them, and every share of wins as likely as any other beforehand, the probability that the other policy wins more often than not is

    P(p > 1/2), p ~ Beta(won + 1, lost + 1)

It leads where that is more than `certainty`. Only the last `window` steps count, since both policies move. It is looked at in every
step, so that over a long run of equal policies it is now and then ahead by luck; then tries are spent that bring no more than the live
policy's own would.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """A step's prompts that both policies tried once. Example: of 4 prompts one was solved by both, two by the other policy alone."""

    prompts: int = 0  # 4
    both: int = 0  # 1
    won: int = 0  # 2: solved by the other policy alone
    lost: int = 0  # 0: solved by the live policy alone


class Lead:
    """Fed with the pairs of each step, in the order of the steps."""

    def __init__(self, window: int, certainty: float) -> None:
        self.certainty = certainty
        self.steps: deque[Paired] = deque(maxlen=window)

    def see(self, pairs: Paired) -> None:
        self.steps.append(pairs)

    @property
    def total(self) -> Paired:
        """Over the window."""
        columns = ((pairs.prompts, pairs.both, pairs.won, pairs.lost) for pairs in self.steps)
        return Paired(*(sum(column) for column in zip(*columns, strict=True))) if self.steps else Paired()

    @property
    def leads(self) -> bool:
        return probability(self.total.won, self.total.lost) > self.certainty


def probability(won: int, lost: int) -> float:
    """That wins are more likely than losses, after so many of each."""
    from scipy.special import betainc  # not on top: methods are read whenever a workflow is planned

    return float(betainc(lost + 1, won + 1, 0.5))  # of 1 - p, that it is below 1/2

"""Drawing a token by inverse transform: the one at which the cumulative probability passes a uniform number.

Sums over a vocabulary are made in float64. On a CPU every probability is. On a GPU, whose float64 is slow and whose memory would be read
many times, only sums of `BLOCK` probabilities are, and then the probabilities of the block in which the number falls: the same token, up
to the rounding of a probability to float32.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 512  # about the root of a vocabulary: two cumulative sums of this length instead of one over all


def draw(scores: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """The token of each row that its uniform number chooses from softmax(scores), and its log-prob: [B, V], [B] -> [B], [B]."""
    logprobs = scores.log_softmax(dim=-1)
    token = (chosen if scores.device.type == "cpu" else chosen_by_blocks)(logprobs, uniforms)
    return token.squeeze(1), logprobs.gather(1, token).squeeze(1)


def chosen(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """The token [B, 1] of each row of `logprobs` [B, V]."""
    cumulative = logprobs.double().exp().cumsum(dim=-1)
    # Scaling by the total keeps the draw below the last cumulative value, whatever the rounding.
    drawn = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, drawn, right=True).clamp(max=logprobs.shape[-1] - 1)


def chosen_by_blocks(logprobs: Tensor, uniforms: Tensor, block: int = BLOCK) -> Tensor:
    """The same: first the block of the vocabulary, then the token in it. A token of probability 0 is never chosen."""
    blocks_BNK = pad(logprobs.exp(), (0, -logprobs.shape[-1] % block)).unflatten(-1, (-1, block))
    cumulative_BN = blocks_BNK.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    drawn = uniforms[:, None] * cumulative_BN[:, -1:]
    which = torch.searchsorted(cumulative_BN, drawn, right=True).clamp(max=cumulative_BN.shape[-1] - 1)
    before = pad(cumulative_BN, (1, 0)).gather(1, which)
    inner_BK = blocks_BNK.gather(1, which[..., None].expand(-1, -1, block)).squeeze(1).double().cumsum(dim=-1)
    # The block's own sum may be rounded otherwise: the draw stays below it, so that there is a token behind it.
    rest = torch.minimum((drawn - before).clamp(min=0), torch.nextafter(inner_BK[:, -1:], torch.zeros_like(before)))
    return which * block + torch.searchsorted(inner_BK, rest, right=True)

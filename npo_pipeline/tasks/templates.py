"""A tokenizer's chat template as a pure function of the messages.

Some templates write today's date. A run prepared twice would then ask other prompts, and its guides would be of problems that are no
longer there: the clock of a template stands still, at the date that Llama's templates fall back to.
"""

import datetime
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

DATE = datetime.datetime(2024, 7, 26)

log = logging.getLogger(__name__)
_warn = cache(log.warning)


def chat_text(messages: Sequence[dict[str, Any]], tokenizer: Any) -> str:
    """The prompt up to where the answer begins. Raises what the template raises."""
    if "strftime_now" in str(tokenizer.chat_template):
        _warn(f"policy.path: its chat template writes the date; each prompt says {DATE:%d %b %Y}, so that a run can be made again")
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, strftime_now=DATE.strftime)
    return str(text)

"""Temperature, top-k and top-p as transformers applies them: what stands between a model's logits and the distribution that is sampled."""

from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from npo_pipeline.configuration.settings import SamplingConfig


def warpers(sampling: SamplingConfig) -> LogitsProcessorList:
    """Maps (token ids, logits [B, V]) to logits of the sampled distribution; the ids are not looked at."""
    found = LogitsProcessorList()
    if sampling.temperature != 1.0:
        found.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k > 0:
        found.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        found.append(TopPLogitsWarper(sampling.top_p))
    return found

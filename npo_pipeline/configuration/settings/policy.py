"""`policy`: the model that is trained, its cold start, its images, its adapters, and a teacher beside it."""

from dataclasses import dataclass, field


@dataclass
class ColdStartConfig:
    """A short supervised fine-tuning on reference answers, so that GRPO finds something to reward."""

    steps: int  # 0: no cold start
    examples: int  # demonstrations that it draws from
    batch_size: int  # demonstrations per step
    learning_rate: float  # at its start; it falls linearly to a tenth


@dataclass
class ScratchConfig:
    """The sizes of a tiny Qwen3, by the names that transformers gives them where it has one."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocab_size: int  # of the tokenizer, trained on the task's own text
    max_positions: int  # tokens of prompt and response together
    split_pattern: str  # regular expression: what the tokenizer never merges across


@dataclass
class VisionScratchConfig:
    """The image side of a tiny Qwen3-VL: an image becomes (width / (patch_size * merge_size)) * (height / ...) tokens."""

    patch_size: int  # pixels along a side
    merge_size: int  # patches along a side of what becomes one token
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int


@dataclass
class VisionConfig:
    """How a vision-language policy reads images; written into the policy's directory, so that every stage reads them so."""

    min_pixels: int | None  # smaller images are scaled up; None: as the model was published
    max_pixels: int | None  # larger ones are scaled down: the bound on the tokens of an image
    scratch: VisionScratchConfig | None = None  # source scratch only


@dataclass
class TeacherConfig:
    """An external teacher for LUFFY: another random start, larger or trained longer than the policy, on the training task itself."""

    seed: int  # of its weights and of its cold start
    hidden_size: int
    intermediate_size: int
    layers: int
    cold_start: ColdStartConfig


@dataclass
class LoraConfig:
    """Train low-rank adapters only (npo_pipeline.policy.lora): checkpoints are adapters then, and `policy/` is merged."""

    rank: int
    alpha: float  # the adapter's output counts alpha / rank
    dropout: float = 0.0  # 0 is all that is allowed: a policy's ratio to itself must be 1
    target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )  # last parts of the linear layers' names, or [all-linear]


@dataclass
class PolicyConfig:
    """The policy that every run starts from; `prepare` leaves it as a Hugging Face directory."""

    source: str  # "scratch" (built and cold-started here), "pretrained" (directory or hub name), "gguf" (file in a package)
    path: str | None  # pretrained: directory or hub name; gguf: "package:file.gguf"
    revision: str | None  # hub: branch, tag or commit
    dtype: str  # "float32" or "bfloat16" (then the optimizer keeps a float32 master copy)
    seed: int  # of random weights and of the cold start; runs over several seeds share this policy, unless there are several cold_starts
    scratch: ScratchConfig  # source scratch only
    cold_start: ColdStartConfig
    vision: VisionConfig | None = None  # None: text alone, or as the model was published
    teacher: TeacherConfig | None = None  # source scratch only; made when a method asks for it
    lora: LoraConfig | None = None  # null: the whole policy is trained
    cold_starts: int | None = None  # so many initial policies: training seed s starts from number s mod cold_starts; null: one for all

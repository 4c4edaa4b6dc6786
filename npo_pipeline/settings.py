"""What `conf/` holds: the settings that Hydra composes, their types and meaning.

Steps that scale with the run (`StepLike`) are whole numbers of steps, or a fraction of the run as a float: 40, or 0.5
(npo_pipeline.timeline). Workers, devices and logging are no part of it: they are options of a stage's command line.
"""

from dataclasses import dataclass, field
from typing import Any

EXTRACTORS = ("auto", "whole", "last_line", "answer_tag", "hash", "boxed", "last_number")

StepLike = Any  # int: steps; float in [0, 1]: a fraction of probe.steps


@dataclass
class PromptConfig:
    style: str  # "chat" (the tokenizer's chat template), "plain" (`template` alone), or "auto": chat where there is one
    template: str  # holds {question}; {image} where an image goes, those without a place of their own come first
    system: str | None  # system message of the chat style


@dataclass
class VerifierConfig:
    kind: str  # "exact", "math" (math-verify) or "reasoning_gym" (the task's own scorer)
    extract: str  # where the answer stands in a response: one of EXTRACTORS (npo_pipeline.tasks.extract)
    timeout_seconds: float  # bound on judging one answer; an answer that takes longer is wrong


@dataclass
class TaskConfig:
    source: str  # "reasoning_gym", "dataset" or "easy_vqa"
    name: str  # reasoning-gym dataset, or a label
    config: dict[str, Any]  # reasoning-gym parameters
    cold_start_config: dict[str, Any]  # parameters that differ for the cold start's problems
    train: str | None  # dataset: a .jsonl/.parquet file, a saved `datasets` folder, or a hub name
    eval: str | None  # as `train`; None: split off from it
    train_split: str  # split to take where the source has several
    eval_split: str
    revision: str | None  # hub revision
    question_column: str
    answer_column: str
    image_column: str | None  # dataset: an image, or a list of them: files beside the dataset, or bytes
    train_size: int | None  # problems to take; None: all (dataset only)
    eval_size: int | None
    seed: int
    question_pattern: str | None  # regular expression; its first group becomes the question
    difficulty_key: str | None  # column or metadata key (npo_pipeline.tasks.fields.difficulty_label)
    prompt: PromptConfig
    verifier: VerifierConfig


@dataclass
class ColdStartConfig:
    steps: int  # 0: no cold start
    examples: int
    batch_size: int
    learning_rate: float


@dataclass
class ScratchConfig:
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocab_size: int  # of the tokenizer, trained on the task's own text
    max_positions: int
    split_pattern: str  # regular expression: what the tokenizer never merges across


@dataclass
class VisionScratchConfig:
    """The image side of a tiny Qwen3-VL: an image becomes (width / (patch_size * merge_size)) * (height / ...) tokens."""

    patch_size: int
    merge_size: int
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

    seed: int
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
    source: str  # "scratch" (built and cold-started here), "pretrained" (directory or hub name), "gguf" (file in a package)
    path: str | None  # pretrained: directory or hub name; gguf: "package:file.gguf"
    revision: str | None
    dtype: str  # "float32" or "bfloat16" (then the optimizer keeps a float32 master copy)
    seed: int
    scratch: ScratchConfig
    cold_start: ColdStartConfig
    vision: VisionConfig | None = None  # None: text alone, or as the model was published
    teacher: TeacherConfig | None = None  # source scratch only; made when a method asks for it
    lora: LoraConfig | None = None  # null: the whole policy is trained


@dataclass
class VllmConfig:
    """What vLLM is started with, beside the policy's own dtype."""

    max_model_len: int  # tokens of prompt and response together; cut to what the policy can read
    gpu_memory_utilization: float  # share of the GPU's memory that it may fill; the trainer needs the rest
    cpu_cache_gib: float  # on a CPU: size of the KV cache
    tensor_parallel_size: int
    enforce_eager: bool  # false: compile and capture CUDA graphs; a slower start, then faster


@dataclass
class EngineConfig:
    name: str  # "transformers" or "vllm"
    max_batch: int  # sequences sampled at a time
    check_every: int  # calls between two checks of its log-probs against the policy's (the first call is checked); 0: never
    check_tolerance: float | None  # mean gap in nats that a check allows; None: by dtype (npo_pipeline.rollout.check)
    vllm: VllmConfig | None = None


@dataclass
class SamplingConfig:
    temperature: float
    top_p: float
    top_k: int  # 0: off
    max_new_tokens: int


@dataclass
class GrpoConfig:
    prompts_per_step: int
    group_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    adam_betas: list[float]
    max_grad_norm: float
    epochs: int  # passes over each batch
    minibatches: int  # optimizer steps per pass
    advantage: str  # "std" (r - mean) / (std + eps), or "mean"
    advantage_eps: float
    aggregation: str  # "response" (mean over each response's tokens) or "constant" (sum / sampling.max_new_tokens)
    clip_low: float  # 1.0 with clip_high .inf: no clip
    clip_high: float
    entropy_coef: float  # of an entropy bonus
    kl_coef: float  # against the initial policy; 0: the reference is not even loaded
    engine_correction_cap: float | None  # weigh a sampled token's loss by min(trainer / engine probability, this); None: off
    micro_batch_tokens: int  # padded tokens per forward; does not change the result beyond rounding


@dataclass
class ProbeConfig:
    steps: int
    checkpoint_every: int
    key_every: int  # every how many checkpoints one is a whole policy; those in between are deltas. Also of guided runs


@dataclass
class VarianceConfig:
    estimator: str  # "exp_kl": exp(beta * kl_token), "chi2": 1 + chi2_token, "ess": 1 / ess
    beta: float


@dataclass
class GuidanceConfig:
    every: StepLike  # distance between guide checkpoints
    lookback: StepLike  # how far before a guide checkpoint its prompts are collected
    gate: float  # prompts with group accuracy <= gate are collected
    samples: int  # tries per prompt; a prompt stops at its first verified one
    shard_rows: int
    variance: VarianceConfig


@dataclass
class WindowConfig:
    from_step: StepLike
    to_step: StepLike
    guide_step: StepLike


@dataclass
class AutoNpoConfig:
    ema: float  # weight of the newest step in the moving averages
    patience: StepLike  # steps over which stagnation and decline are judged
    min_gain: float  # reward gained over `patience` below which training stagnates
    entropy_drop: float  # relative entropy loss over `patience` above which exploration collapses
    min_coverage: float  # share of the mistake pool that the present policy must solve to confirm
    cooldown: StepLike  # steps after an intervention without another warning


@dataclass
class RollingConfig:
    distance: StepLike  # Delta: at step t the guide is the first guide checkpoint at t + Delta or later, so long as there is one


@dataclass
class OnlineConfig:
    min_prompts: int  # failed prompts that a candidate's Q must rest on
    max_steps: StepLike  # longest intervention; one lasts until the run comes to its guide's step, or this long


@dataclass
class ResampleConfig:
    samples: int  # further tries of the live policy per gated prompt; stops at its first verified one
    from_step: StepLike
    to_step: StepLike


@dataclass
class ReplayConfig:
    start_accuracy: float  # replay begins once a step's accuracy has reached this
    share: float  # of a step's prompts that are replayed ones
    keep: int  # stored trajectories per prompt, the latest


@dataclass
class DemonstrationsConfig:
    policy: str  # "probe" (its last checkpoint), "teacher" (made by prepare), a model directory or hub name, or a trajectory file
    samples: int  # tries per prompt; a prompt stops once `wanted` are verified
    wanted: int  # verified trajectories that a prompt must have to be used
    temperature: float
    top_p: float
    place: str  # "replace" the last slot of a group, or "append" `wanted` slots to it
    ratio: str  # of the slots: one of npo_pipeline.records.Ratio


@dataclass
class MethodConfig:
    """A method of the second pass. `kind` says where its guide trajectories come from, and which other part it needs.

    Scheduled, from the shards of the guide stage: "manual" (windows), "autonpo" (planned from the probe's log), "rolling".
    Decided live: "online" (AutoNPO on the run's own signals, from the shards), "resample" (the live policy again), "replay" (the
    run's own past), "demonstrations" (another policy), "none" (plain GRPO, for another number of steps).
    """

    kind: str
    gate: float  # a group is mixed where its own accuracy <= gate
    correction: bool  # ratio of guide slots against the recorded guide log-probs
    windows: list[WindowConfig] = field(default_factory=list)
    autonpo: AutoNpoConfig | None = None  # also of "online": its trigger
    rolling: RollingConfig | None = None
    online: OnlineConfig | None = None
    resample: ResampleConfig | None = None
    replay: ReplayConfig | None = None
    demonstrations: DemonstrationsConfig | None = None
    grpo: dict[str, Any] = field(default_factory=dict)  # settings of `grpo` that this method changes
    length: float = 1.0  # steps of the run, as a multiple of probe.steps


SCHEDULED = ("manual", "autonpo", "rolling")
KINDS = (*SCHEDULED, "online", "resample", "replay", "demonstrations", "none")


@dataclass
class GuidedConfig:
    checkpoint_every: StepLike


@dataclass
class BenchmarkConfig:
    """A held-out dataset that policies are evaluated on beside the task's own problems, and never trained on."""

    data: str | None  # as task.eval; None: not given, so left out
    split: str = "test"
    revision: str | None = None
    question_column: str = "question"
    answer_column: str = "answer"
    image_column: str | None = None
    difficulty_key: str | None = None
    size: int | None = None  # problems to take; None: all


@dataclass
class EvaluateConfig:
    samples: int  # responses per problem
    ks: list[int]  # the k of pass@k
    temperature: float
    bootstrap: int  # resamples behind each confidence interval
    confidence: float
    seed: int
    benchmarks: dict[str, BenchmarkConfig] = field(default_factory=dict)  # by name; prompt and verifier are the task's


@dataclass
class ReportConfig:
    title: str
    samples: int  # trajectories shown per policy


@dataclass
class ComparisonConfig:
    """The target `comparison`: every method over several seeds, in one table."""

    seeds: list[int]
    methods: list[str]
    resamples: int  # behind each bootstrap interval
    confidence: float
    seed: int  # of the resampling


@dataclass
class MeasureConfig:
    """The stage `measure`: Q, V and S measured on the probe's checkpoints, beside the estimates of V."""

    current_steps: list[StepLike]
    distances: list[StepLike]  # 0: the policy itself
    problems: int  # of the mistake pool, per current step
    tries: int  # samples of each guide checkpoint per problem
    repeats: int  # independent on-policy groups per problem, and most guide trajectories per problem
    resamples: int  # behind each bootstrap interval
    confidence: float


@dataclass
class RootConfig:
    """What Hydra composes from `conf/`."""

    name: str
    seeds: list[int]
    rounds: int  # from the second on, the first method's run of the round before is the probe
    task: TaskConfig
    policy: PolicyConfig
    engine: EngineConfig
    sampling: SamplingConfig
    grpo: GrpoConfig
    probe: ProbeConfig
    guidance: GuidanceConfig
    method: dict[str, MethodConfig]
    guided: GuidedConfig
    evaluate: EvaluateConfig
    comparison: ComparisonConfig
    measure: MeasureConfig
    report: ReportConfig

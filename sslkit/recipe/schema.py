"""The keys of a recipe, each with its meaning, unit, range and source.

A section that names a component (`method`, `augment`, `data`, an evaluator, a tracker) is typed by that
component's own `Config`; what stands here is what all of them share.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Component:
    """A component by name, with its own typed configuration."""

    name: str
    """Which component; `sslkit plugins` lists the names."""
    config: Any
    """An instance of the component's `Config`."""


@dataclass
class BackboneSection:
    """The network that learns."""

    name: str = "vit_small_patch8_224"
    """Any timm model, or a backbone of a plugin."""
    drop_path_rate: float = 0.1
    """Stochastic depth of the student, 0 to 1; a teacher has none (DINO: 0.1)."""
    weights: str | None = None
    """A `backbone.safetensors` or run directory to start from; every tensor must match."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the network's constructor; `pos_embed_resize: timm|dino` chooses how a ViT resizes its
    position embedding."""


@dataclass
class DataSection:
    """The images. Keys of the named data set's own stand beside these."""

    name: str = "demo"
    """Kind of data: demo, folder, table, pairs, voc, revisited, parquet, webdataset, timm, or a plugin's."""
    root: str | None = None
    """Folder or file with the images; relative paths count from the current folder."""
    split: str = "train"
    """Split to train on; where the data has none, all of it less what is held out."""
    eval_split: str = "val"
    """Split to evaluate on; where the data has none, a tenth is held out by a hash of each key."""
    labels: str = "auto"
    """auto: from class folders or the format; folders: every top folder is a class; none: ignored."""
    workers: int = 2
    """Processes that decode images, >= 0."""
    on_error: str = "skip"
    """An unreadable image is replaced by the next readable one (skip), or ends the run (stop)."""
    max_broken: float = 0.1
    """Share of the images seen that may be unreadable before the run stops, 0 to 1."""
    canvas: int | None = None
    """Side of the square that decoded images are fitted to, pixels; null: what the smallest crop needs, at
    most the data's own size."""
    mean: list[float] | None = None
    """Mean per channel of images in [0, 1]; null: ImageNet's for 3 channels, 0.5 otherwise."""
    std: list[float] | None = None
    """Standard deviation per channel; null: ImageNet's for 3 channels, 0.25 otherwise."""
    channels: int = 3
    """Channels that images are brought to: 1 grey, 3 colour, 4 with alpha; more from .npy arrays."""


@dataclass
class ClipSection:
    """Gradient clipping."""

    mode: str = "per_parameter"
    """per_parameter: each tensor by its own norm, as DINO's code does; global: all together; none."""
    norm: float = 3.0
    """Largest gradient norm, > 0 (DINO: 3.0; 0.3 for large batches)."""


@dataclass
class OptimSection:
    """The optimiser and its schedules."""

    name: str = "adamw"
    """Any optimiser that timm knows."""
    batch_size: int = 512
    """Images of one step, over all processes and micro-batches."""
    epochs: int = 100
    """Passes over the data; the schedules run over all of them."""
    lr: float = 0.0005
    """Learning rate at `lr_base_batch` images; it grows linearly with `batch_size` (DINO: 0.0005)."""
    lr_base_batch: int | None = 256
    """Batch size that `lr` is meant for; null: `lr` is used as it is."""
    warmup_epochs: float = 10
    """Epochs of linear warm-up from 0."""
    min_lr: float = 1.0e-6
    """Learning rate that the cosine ends at (not scaled)."""
    weight_decay: float = 0.04
    """Weight decay at the start; biases and 1-d tensors have none (DINO: 0.04)."""
    weight_decay_end: float = 0.4
    """Weight decay at the end, by a cosine (DINO: 0.4)."""
    clip: ClipSection = field(default_factory=ClipSection)
    """Gradient clipping."""
    accumulate: int = 1
    """Micro-batches of one step; they divide the batch of each process."""


@dataclass
class RuntimeSection:
    """Where and how it runs. Nothing here changes what is learned, up to rounding."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: str = "fp32"
    """fp32, bf16, fp16, or auto: bf16 where the hardware has it (on a CPU only with AMX), else fp32."""
    threads: int | None = None
    """CPU threads; null: torch's choice."""
    max_steps: int | None = None
    """End after so many steps; the schedules stay as they are."""
    strategy: str = "auto"
    """auto: DistributedDataParallel under torchrun; none: refuse to run on several processes."""
    compile: bool = False
    """Compile the backbones with torch.compile."""
    deterministic: bool = True
    """Ask torch for deterministic algorithms on CUDA. It warns of operations that have none: with those a run
    and a resumed one agree to rounding alone."""
    log_every: int = 1
    """Steps between two step records in metrics.jsonl, >= 1."""


@dataclass
class CheckpointSection:
    """When checkpoints are written, and how many are kept."""

    every_steps: int | None = None
    """Steps between checkpoints; null: by epochs alone."""
    every_epochs: int | None = 1
    """Epochs between checkpoints; null: by steps alone. The end always writes one."""
    keep: int = 2
    """Newest checkpoints kept, >= 1, beside the last one that the doctor found healthy."""
    best: str | None = None
    """EVALUATOR.METRIC, such as health.rankme (-EVALUATOR.METRIC: less is better): the backbone of the best
    evaluation so far is kept as `backbone_best.safetensors`; null: none (docs/evaluation/choosing.md)."""


@dataclass
class HealthSection:
    """What happens when the features collapse."""

    on_collapse: str = "warn"
    """warn or stop."""


@dataclass
class EvalSection:
    """What is measured during and after training."""

    every_epochs: int | None = 1
    """Epochs between evaluations; null: only at the start and the end."""
    resize: int = 256
    """Short side that images are resized to, pixels."""
    crop: int = 224
    """Side of the centre crop, pixels."""
    batch_size: int = 128
    """Images of one forward pass."""
    max_images: int | None = None
    """At most so many images of each split; null: all."""
    data: dict[str, Any] | None = None
    """A data section of its own (name, root, ...) for a labelled set elsewhere; null: the run's data."""
    evaluators: dict[str, Any] = field(default_factory=lambda: {"knn": {}})
    """Evaluators by name, each with its own keys; null removes one. Once loaded: name -> its Config."""


@dataclass
class ExpectSection:
    """What `sslkit reproduce` holds a run to, and what gave it; empty where nothing is expected.

    Bands belong to exactly the recipe that they are written for. A variant or an override that can change a
    result (any key but names, the seed, device, threads, workers, checkpoints and the like) leaves them
    behind, unless it gives an `expect` of its own, which then stands alone. Another seed keeps them.
    """

    seeds: list[int] = field(default_factory=list)
    """Seeds of the runs that gave the bands."""
    hardware: str = ""
    """What they ran on, in words."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions that they ran with, by package; in quotes where YAML would read a number, as '2.14'."""
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """EVALUATOR.METRIC with the lowest and the highest value expected at the end of a run, of any seed."""


@dataclass
class Recipe:
    """A run, said completely."""

    sslkit: int = 1
    """Version of the recipe format."""
    name: str = "run"
    """Names the run directory."""
    seed: int = 0
    """Seed of the data order, the augmentation and the initial weights."""
    plugins: list[str] = field(default_factory=list)
    """One-file plugins (paths from the recipe's folder) and installed packages with a version range."""
    method: Component = field(default_factory=lambda: Component("dino", None))
    """What one step computes."""
    backbone: BackboneSection = field(default_factory=BackboneSection)
    """The network."""
    augment: Component = field(default_factory=lambda: Component("multicrop", None))
    """How views are made."""
    data: DataSection = field(default_factory=DataSection)
    """The images."""
    data_config: Any = None
    """The data set's own keys (its `Config`); in the file they stand in `data`."""
    optim: OptimSection = field(default_factory=OptimSection)
    """The optimiser."""
    runtime: RuntimeSection = field(default_factory=RuntimeSection)
    """Device, precision, threads."""
    checkpoint: CheckpointSection = field(default_factory=CheckpointSection)
    """Checkpoints."""
    health: HealthSection = field(default_factory=HealthSection)
    """Collapse."""
    eval: EvalSection = field(default_factory=EvalSection)
    """Evaluation."""
    trackers: list[Component] = field(default_factory=list)
    """Who hears of the run beside metrics.jsonl: a name, or a mapping with name and keys."""
    closing: str = ""
    """Printed at the end of a run that finished: what it showed, and what to do next."""
    expect: ExpectSection = field(default_factory=ExpectSection)
    """Bands that the metrics of a run are expected in."""

"""What a training would take, before anybody pays for it: arithmetic, days, memory of a GPU.

The bytes of states are exact and those of activations measured, both for how ``engine.py`` sets
DeepSpeed up: weights, gradients, Adam's moments and the average in float32, matrices multiplied in
bfloat16. Tests hold them against running ranks.
"""

from dataclasses import dataclass, fields

import torch

from nuwa_model.config import NuwaConfig
from nuwa_model.flops import flops_per_token, recomputed_flops, target_grid_of
from nuwa_model.model import Nuwa
from nuwa_model.tasks import Task, get_task
from pipelines.config import RunConfig, TrainingConfig
from pipelines.training.engine import Precision, deepspeed_config

STAGES = (0, 1, 2, 3)

_FLOAT32, _BFLOAT16 = 4, 2

# Bytes that a layer keeps for its backward pass, for each cell and each number of its width.
_DECODER: dict[Precision, int] = {"bfloat16": 64, "float32": 90}
_ENCODER: dict[Precision, int] = {"bfloat16": 50, "float32": 72}
_LOGIT = 12
"""Bytes of a logit while its gradient is made: itself, its logarithm, its gradient."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        weights: What the model multiplies with, its bfloat16 copies included.
        gradients: As they lie when the optimizer begins.
        optimizer: Adam's moments, and the weights that it updates where those are others.
        average: The exponential moving average.
        buffer: Where gradients are gathered before they are reduced.
        activations: What one micro-batch of the task with the most of them keeps.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    buffer: int
    activations: int

    @property
    def total(self) -> int:
        """All of them at once."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, kw_only=True)
class Step:
    """An optimizer step over all GPUs, the mean over the tasks of the mixture.

    Attributes:
        examples: Read in a step.
        tokens: Of their targets.
        flops: Operations, forward and backward.
        recomputed: Operations that ``activation_checkpointing`` does a second time.
    """

    examples: float
    tokens: float
    flops: float
    recomputed: float


def count_parameters(model: NuwaConfig) -> tuple[int, int]:
    """Weights that are trained, and those that the paper's convention counts (spec §3)."""
    with torch.device("meta"):
        network = Nuwa(model)
    return sum(p.numel() for p in network.parameters()), network.num_parameters()


def mean_step(config: RunConfig) -> Step:
    """What a step of pre-training costs."""
    training = config.training
    total = sum(training.tasks.values())
    examples = tokens = flops = recomputed = 0.0
    for task, weight in _tasks(training).items():
        share = weight / total * _examples(training, task)
        cells = target_grid_of(config.model, task).num_cells
        examples += share
        tokens += share * cells
        flops += share * cells * flops_per_token(config.model, task)
        if training.activation_checkpointing:
            recomputed += share * recomputed_flops(config.model, task)
    return Step(examples=examples, tokens=tokens, flops=flops, recomputed=recomputed)


def memory(
    config: RunConfig, *, zero_stage: int, ranks: int, precision: Precision = "bfloat16"
) -> Memory:
    """What each GPU must hold at a ZeRO stage."""
    count = count_parameters(config.model)[0]
    whole = _FLOAT32 * count
    part = whole // ranks
    is_partitioned = zero_stage > 0
    settings = deepspeed_config(config.training, precision, count)["zero_optimization"]
    copies = _BFLOAT16 * count if precision == "bfloat16" else 0
    return Memory(
        weights=(part if zero_stage == 3 else whole) + copies,
        gradients=part if is_partitioned else whole,
        optimizer=3 * part if is_partitioned else 2 * whole,
        average=part if zero_stage == 3 else whole,
        buffer=_FLOAT32 * settings["reduce_bucket_size"] if is_partitioned else 0,
        activations=max(
            activations(
                config.model,
                task,
                precision=precision,
                is_checkpointed=config.training.activation_checkpointing,
            )
            * _examples(config.training, task)
            // (ranks * config.training.gradient_accumulation)
            for task in _tasks(config.training)
        ),
    )


def activations(
    model: NuwaConfig,
    task: Task,
    *,
    precision: Precision = "bfloat16",
    is_checkpointed: bool = False,
) -> int:
    """Bytes that one example keeps from the forward for the backward pass.

    Of checkpointed layers what each reads, in float32 at any precision, and all that the largest
    keeps, while it is computed again. Measured with nearby attention and texts; windows on
    sketches keep up to 1.6 times as much.
    """
    target = target_grid_of(model, task)
    slots = target._replace(w=target.w + 1).num_cells
    condition = (target if task.condition == "sketch" else model.text_grid).num_cells
    decoder, encoder = slots * _DECODER[precision], condition * _ENCODER[precision]
    layers = model.decoder_depth * decoder + model.encoder_depth * encoder
    if is_checkpointed:
        read = model.decoder_depth * slots + model.encoder_depth * condition
        layers = _FLOAT32 * read + max(decoder, encoder)
    logits = target.num_cells * model.codebook_size * _LOGIT
    return layers * model.dim + logits


def _tasks(training: TrainingConfig) -> dict[Task, float]:
    return {get_task(name): weight for name, weight in training.tasks.items() if weight}


def _examples(training: TrainingConfig, task: Task) -> int:
    """Examples of a step: excerpts count as the whole videos whose place they take."""
    return training.batch_size * (training.images_per_video if task.target == "image" else 1)

"""Which artifact a run makes or wants: names that are pure functions of its settings.

Equal settings give equal names, so a job that finds its artifact complete has nothing to do, and
a job that needs one knows where to look without being told. ``pipelines.artifacts.find`` says
what happens when there is none of that name.
"""

from dataclasses import asdict
from typing import Any

from nuwa_model.config import VQGANConfig
from pipelines.config import RunConfig, TokenizerTrainingConfig, TrainingConfig, config_hash

_NO_WEIGHT = (
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "activation_checkpointing",
    "export",
)
"""Settings that change no weight."""

_UNUSED = {
    TokenizerTrainingConfig: (
        ("vgg16", ""),
        ("lpips", ""),
        ("codebook", "mean"),
        ("ema_decay", 0.0),
    ),
    TrainingConfig: (("patience", 0), ("given_frames", 0)),
}
"""Settings that came later: while they are not used, earlier runs keep their names."""

_FRAMES_GIVEN_OF = "whole videos"
"""What V2V and TV2V read in runs with excerpts and given frames. They read excerpts once, and what
was trained so is another run."""


def text_tokenizer_name(config: RunConfig, *, has_captions: bool = True) -> str:
    """The text tokenizer, trained once from the captions; one that never saw any is called so."""
    name = f"bpe-{config_hash(config.model.text_vocabulary, config.model.text_length)}"
    return name if has_captions else f"{name}-no-captions"


def vqgan_name(config: RunConfig) -> str:
    """The frame tokenizer."""
    training = _result_only(config.vqgan_training)
    return f"vqgan-{config_hash(config.vqgan.as_dict(), training, config.clips.size)}"


def vqgan_seg_name(config: RunConfig) -> str:
    """The sketch tokenizer."""
    training = _result_only(config.vqgan_seg_training)
    return f"vqgan_seg-{config_hash(config.vqgan_seg.as_dict(), training, config.clips.size)}"


def ablation_name(
    variant: str, vqgan: VQGANConfig, training: TokenizerTrainingConfig, size: int
) -> str:
    """A tokenizer that was trained only to be compared with others, on pictures of that size."""
    choice = config_hash(vqgan.as_dict(), _result_only(training), size)
    return f"ablation-{variant}-seed{training.seed}-{choice}"


def pretrain_name(config: RunConfig) -> str:
    """The pre-training run and its checkpoints."""
    return f"pretrain-{_run_hash(config, config.training)}"


def pretrain_export_name(config: RunConfig) -> str:
    """The export of the pre-training."""
    return export_name(pretrain_name(config), config.training)


def finetune_name(config: RunConfig) -> str:
    """The fine-tuning run and its checkpoints."""
    start = config.checkpoint or pretrain_export_name(config)
    return f"finetune-{_run_hash(config, config.finetuning, start)}"


def finetune_export_name(config: RunConfig) -> str:
    """The export of the fine-tuning."""
    return export_name(finetune_name(config), config.finetuning)


def export_name(run: str, training: TrainingConfig) -> str:
    """What a run exports: its last checkpoint has the run's own name."""
    return f"{run}-best" if training.export == "best" else run


_SAMPLES_MADE = "with the clip's own pixels where they are given"
"""How sample sets are made of the same settings; another way is another set."""


def samples_name(config: RunConfig, export: str) -> str:
    """The sample set that ``config.generation`` draws from the export of that name."""
    return f"samples-{config_hash(config.generation.as_dict(), export, _SAMPLES_MADE)}"


def _run_hash(config: RunConfig, training: TrainingConfig, *more: str) -> str:
    tokenizer = config.tokenizer or vqgan_name(config)
    more_given = {"sketches": config.sketch_tokenizer, "text": config.text_tokenizer}
    given = {kind: name for kind, name in more_given.items() if name}
    sections = [config.model.as_dict(), _result_only(training), tokenizer, *more]
    return config_hash(*sections, *([given] if given else []))


def _result_only(training: TokenizerTrainingConfig | TrainingConfig) -> dict[str, Any]:
    """The settings without those that change no weight."""
    tree = asdict(training)
    for name in _NO_WEIGHT:
        tree.pop(name, None)
    # Any number of ranks goes on with a run; as many as there are, 0, always had its own name.
    tree["num_workers"] = min(1, training.num_workers)
    if isinstance(training, TrainingConfig):
        tree["given_frames"] = training.most_frames_given  # of a mixture without such tasks none
        if training.excerpt_share and training.most_frames_given:
            tree["given_frames_of"] = _FRAMES_GIVEN_OF
    unused = _UNUSED[type(training)]
    return {name: value for name, value in tree.items() if (name, value) not in unused}

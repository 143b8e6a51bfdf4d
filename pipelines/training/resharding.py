"""Shards read by another number of ranks than wrote them, through DeepSpeed's universal form.

Each rank's shards hold its part of all weights and moments; the universal form has one file for
each weight and each of its moments, of which any number of ranks takes its parts.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from pipelines.errors import TrainingError
from pipelines.training.engine import import_deepspeed
from pipelines.training.ranks import Ranks

logger = logging.getLogger(__name__)

_UNIVERSAL = "universal"


def load_resharded(engine: Any, shards: Path) -> None:
    """Load weights, moments and counts into an engine; every rank must call it.

    One rank of each machine converts the shards into a temporary folder, which takes some three
    times their bytes until all have read it.

    Args:
        engine: The ``DeepSpeedEngine``, at the ZeRO stage that wrote the shards.
        shards: Folder of all ranks' files.

    Raises:
        TrainingError: There is no room for the conversion.
    """
    with tempfile.TemporaryDirectory(prefix="universal-") as scratch:
        folder = _convert_once(shards, Path(scratch))
        with _reads_universal(engine), _groups_kept_apart(engine.optimizer.optimizer):
            engine.load_checkpoint(str(folder), tag=_UNIVERSAL)
        distributed.barrier()  # until then all folders stay


def whole_weights(shards: Path) -> dict[str, Tensor]:
    """Weights and buffers of the last step, put together from all ranks' shards, float32.

    DeepSpeed's files are pickles, which can do anything: only of checkpoints that you trust.
    """
    import_deepspeed()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    if not list(shards.glob("*_optim_states.pt")):  # ZeRO stage 0: each rank had all of it
        whole = torch.load(shards / "mp_rank_00_model_states.pt", weights_only=False)
        return dict(whole["module"])
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return dict(get_fp32_state_dict_from_zero_checkpoint(str(shards.parent), tag=shards.name))


def _convert_once(shards: Path, scratch: Path) -> Path:
    """Where the first rank of this machine wrote the universal form."""
    ranks, problem = Ranks.from_environment(), ""
    if ranks.local_rank == 0:
        if ranks.is_first:
            logger.info("event=reshard shards=%s ranks=%d", shards, ranks.world_size)
        try:
            _convert(shards, scratch / _UNIVERSAL)
        except OSError as error:
            problem = f"{error.filename or scratch}: {error.strerror or error}"
    told: list[tuple[str, str]] = [("", "")] * ranks.world_size
    distributed.all_gather_object(told, (str(scratch), problem))
    for problem in (problem for _, problem in told if problem):
        raise TrainingError(
            f"{shards} could not be converted for {ranks.world_size} ranks: {problem}. Make room, "
            "or name a folder that has some in TMPDIR."
        )
    return Path(told[ranks.rank - ranks.local_rank][0])


def _convert(shards: Path, universal: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    arguments = argparse.Namespace(
        input_folder=str(shards),
        output_folder=str(universal),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,  # DeepSpeed leaves it out of what it saves
    )
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # a bar for each of its parts
        ds_to_universal.main(arguments)


@contextmanager
def _reads_universal(engine: Any) -> Iterator[None]:
    """Let an engine read the other form; it has no setting for one checkpoint alone."""
    engine._config.load_universal_checkpoint = True
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False


@contextmanager
def _groups_kept_apart(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Mend what DeepSpeed 0.19 makes of groups of weights at ZeRO stage 3.

    All get the first one's decay, and one tensor counts the steps of all: each group adds to it.
    """
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    yield
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay
    for state in optimizer.state.values():
        state["step"] = state["step"].clone()

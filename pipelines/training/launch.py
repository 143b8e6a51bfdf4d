"""Starts a training on Ray Train, which places the ranks; our manifests stay the truth."""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer

from nuwa_model.errors import NuwaError
from pipelines import cluster, memory, storage
from pipelines.errors import TrainingError
from pipelines.meters import TrainingMeters
from pipelines.progress import Progress
from pipelines.training.notice import Notice
from pipelines.training.observers import Observers

logger = logging.getLogger(__name__)

Plan = TypeVar("Plan")

MAX_FAILURES = 3
"""Restarts of the ranks after one of them died; each goes on from the newest checkpoint."""

_PROGRESS_EVERY_S = 1.0


def launch(
    train_rank: Callable[[Plan, Observers], object],
    plan: Plan,
    *,
    root: str,
    num_workers: int,
    steps: int,
    saves_when_told: bool = False,
) -> None:
    """Call ``train_rank(plan, observers)`` on every rank until it ends well.

    A rank that dies (SIGKILL, out of memory, a lost machine) is started again with all others; a
    deliberate error and a bug are not. With GPUs in the cluster each rank gets one, otherwise an
    equal share of a machine's processors, and as many threads.

    Args:
        train_rank: Importable where the ranks run.
        plan: Plain values for it.
        root: Folder of the run; absolute.
        num_workers: Ranks.
        steps: For the progress bar.
        saves_when_told: On SIGTERM wait for ranks that ask ``observers.is_told_to_end``, save and
            raise; otherwise it ends this process, and the ranks with it.

    Raises:
        TrainingError: A deliberate error of a rank, in one line, or ranks died too often.
    """
    cluster.connect()
    for uri in (_refusal(root), _told(root)):
        storage.delete(uri)
    notice = Notice() if saves_when_told else nullcontext()
    with _ray_settings(), notice as given, _following(root, steps, given):
        for attempt in range(1 + MAX_FAILURES):
            try:
                _trainer(train_rank, plan, root, num_workers, steps).fit()
            except WorkerGroupError as error:
                _raise_refusal(root)
                _judge(error)
                logger.warning("event=restart attempt=%d reason=%s", attempt + 1, _short(error))
            else:
                _raise_refusal(root)
                return
    raise TrainingError(f"Ranks of {root} died {1 + MAX_FAILURES} times: see the log for why.")


@contextmanager
def _ray_settings() -> Iterator[None]:
    """What Ray Train reads from the environment; what the user has set there wins.

    For the length of a ``with`` statement: a later training may be on another cluster.
    """
    settings = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # to see the end sooner
        # A process more, which warns ranks of the loss of a machine; a lone one warns nobody.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": str(int(_is_spread())),
    }
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _trainer(
    train_rank: Callable[[Plan, Observers], object],
    plan: Plan,
    root: str,
    num_workers: int,
    steps: int,
) -> TorchTrainer:
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    filesystem, path = storage.arrow_filesystem(root)
    processors = _processors_for_a_rank(num_workers)
    return _Trainer(
        _run_rank,
        train_loop_config={
            "train_rank": train_rank,
            "plan": plan,
            "root": root,
            "steps": steps,
            "threads": max(1, int(processors)),
            "is_spread": _is_spread(),
        },
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=has_gpus,
            resources_per_worker=None if has_gpus else {"CPU": processors},
        ),
        torch_config=TorchConfig(backend="nccl" if has_gpus else "gloo"),
        run_config=RunConfig(
            name="ray_train",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=0),  # we restart, to spare deliberate errors
        ),
    )


class _Trainer(TorchTrainer):
    """Ray's, without two of the processes that it starts beside the ranks.

    One would ask the dashboard once a second whether training lives, to free processors if Ray's
    controller died; they are free when the job ends, and where there is no dashboard it fails and
    says so once a second. The other hands out Ray's data sets; we read our own.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        unwanted = {"PlacementGroupCleanerCallback", "DatasetsCallback"}
        return [c for c in callbacks if type(c).__name__ not in unwanted]


def _run_rank(arguments: Mapping[str, Any]) -> None:
    torch.set_num_threads(arguments["threads"])  # Ray and torchrun may have said one
    memory.keep_freed()
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    root = arguments["root"]
    is_first = ray.train.get_context().get_world_rank() == 0
    logging.getLogger("pipelines").setLevel(logging.INFO if is_first else logging.WARNING)
    observers = Observers(
        on_step=_StepFile(root, arguments["steps"]),
        on_records=TrainingMeters(root.rpartition("/")[2]).show,
        on_checkpoint=_report,
        is_warned=_is_draining if arguments["is_spread"] else lambda: False,
        is_told_to_end=_Told(root) if is_first else lambda: False,
    )
    try:
        arguments["train_rank"](arguments["plan"], observers)
    except NuwaError as error:
        storage.replace_bytes(_refusal(root), str(error).encode())
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise  # ends the ranks that wait for this one


def _refusal(root: str) -> str:
    """Where a rank says in one line what is wrong; Ray would add its own fifty."""
    return storage.join(root, "refusal.txt")


def _told(root: str) -> str:
    """Where the job's process writes that ranks shall save and end; they are Ray's, not its own."""
    return storage.join(root, "told_to_end")


class _Told:
    """Looks now and then whether that was written."""

    def __init__(self, root: str) -> None:
        self._uri, self._last, self._is_told = _told(root), -math.inf, False

    def __call__(self) -> bool:
        if not self._is_told and time.monotonic() - self._last >= _PROGRESS_EVERY_S:
            self._last, self._is_told = time.monotonic(), storage.exists(self._uri)
        return self._is_told


def _raise_refusal(root: str) -> None:
    if storage.exists(_refusal(root)):
        raise TrainingError(storage.read_bytes(_refusal(root)).decode())


def _report(metadata: Mapping[str, Any]) -> None:
    """Tell Ray Train; every report waits for all ranks, so only checkpoints are told."""
    told = ("step", "loss", "tokens_per_s")
    ray.train.report({name: metadata[name] for name in told})


def _is_spread() -> bool:
    """Whether the cluster is more than this machine."""
    return sum(node["Alive"] for node in ray.nodes()) > 1


def _is_draining() -> bool:
    """Whether a machine that ranks are on will be taken away; waits for all ranks."""
    return ray.train.get_preemption_info() is not None


def _processors_for_a_rank(num_workers: int) -> float:
    """An equal share of the smallest machine, whole where there is at least one for each."""
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    nodes = [processors for processors in nodes if processors > 0]
    share = min(nodes) / math.ceil(num_workers / len(nodes))
    return float(math.floor(share)) if share >= 1 else share


def _judge(error: WorkerGroupError) -> None:
    """Raise what a restart would only repeat: errors of our code.

    Of a death Ray tells by errors of its own. A ``RuntimeError`` is what torch raises on the ranks
    that are left, and Ray sometimes hears of them first.
    """
    failures = error.worker_failures.values()
    causes = [getattr(failure, "_base_exc", failure) for failure in failures]
    if not any(_may_pass(cause) for cause in causes):
        raise error


def _may_pass(cause: BaseException) -> bool:
    is_ray_s = type(cause).__module__.partition(".")[0] == "ray"
    return is_ray_s or isinstance(cause, RuntimeError)


def _short(error: WorkerGroupError) -> str:
    return " ".join(str(error).split())[:200]


class _StepFile:
    """Tells the job's process how far rank 0 is; the store is all they surely share."""

    def __init__(self, root: str, steps: int) -> None:
        self._uri, self._steps = storage.join(root, "progress.json"), steps
        self._last = -math.inf

    def __call__(self, done: int, note: str) -> None:
        if done == self._steps or time.monotonic() - self._last >= _PROGRESS_EVERY_S:
            self._last = time.monotonic()
            storage.replace_bytes(self._uri, json.dumps({"done": done, "note": note}).encode())


@contextmanager
def _following(root: str, steps: int, notice: Notice | None) -> Iterator[None]:
    """Show what ``_StepFile`` writes, and hand a notice on to the ranks."""
    uri, stop = storage.join(root, "progress.json"), threading.Event()
    storage.delete(uri)

    def follow(progress: Progress) -> None:
        shown, is_over = 0, False
        while not is_over:
            is_over = stop.wait(_PROGRESS_EVERY_S)
            if notice is not None and notice.is_given and not storage.exists(_told(root)):
                logger.warning("event=told_to_end root=%s", root)
                storage.replace_bytes(_told(root), b"")
            told = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
            if told.get("done", shown) != shown:
                progress.advance(told["done"] - shown, told["note"])
                shown = told["done"]

    with Progress("train", steps) as progress:
        thread = threading.Thread(target=follow, args=(progress,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

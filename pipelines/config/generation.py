"""Settings of what is sampled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nuwa_model.errors import ConfigError, RangeError, refuse_outside
from nuwa_model.tasks import get_task
from pipelines.config.ranges import ANY, SHARE, SOME


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """What is sampled.

    Args:
        tasks: Tasks to sample; those whose conditions the store lacks are said and left out.
        prompts: Texts to sample instead of those of validation examples; all tasks must then be
            T2I or T2V.
        samples_a_prompt: Samples of each prompt.
        num_samples: Samples a task, each of another validation example; prompts take no notice.
        batch_size: Samples decoded together.
        num_workers: Generating actors; 0 is one for each GPU, or one where there is none.
        temperature: Divides the logits.
        top_k: Keep this many tokens; 0 keeps all.
        top_p: Keep the likeliest tokens of this total probability.
        guidance: Strength of classifier-free guidance; 1 is none.
        num_candidates: For each task of which several are drawn of each sample, how many; the one
            is kept that best fits its condition, and what is known after a hole. The paper kept one
            of 60.
        given_frames: First frames that V2V and TV2V are given.
        schedule: ``wavefront`` or ``sequential``; both draw the same samples.
        seed: Of the noise.
    """

    tasks: tuple[str, ...] = ("T2V", "T2I", "V2V")
    prompts: tuple[str, ...] = ()
    samples_a_prompt: int = 1
    num_samples: int = 4
    batch_size: int = 64
    num_workers: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.95
    guidance: float = 2.0
    num_candidates: Mapping[str, int] = field(default_factory=dict)
    given_frames: int = 1
    schedule: Literal["wavefront", "sequential"] = "wavefront"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse contradictions here, so that no module has to."""
        refuse_outside(
            self,
            samples_a_prompt=SOME,
            num_samples=SOME,
            batch_size=SOME,
            num_workers=ANY,
            temperature=ANY,
            top_k=ANY,
            top_p=SHARE,
            guidance=ANY,
            given_frames=SOME,
        )
        for name in (*self.tasks, *self.num_candidates):
            get_task(name)
        for name, number in self.num_candidates.items():
            if number < 1:
                raise RangeError(self, "num_candidates", f"at least 1 for {name}")
            if number > 1 and not get_task(name).can_rank:
                raise RangeError(self, "num_candidates", f"1 for {name}, of which all fit as well")
        if not all(prompt.strip() for prompt in self.prompts):
            raise ConfigError("generation.prompts holds an empty text: leave it out.")
        if self.prompts and not all(get_task(name).is_made_of_text for name in self.tasks):
            raise ConfigError(
                f"generation.prompts are texts alone, but {', '.join(self.tasks)} need more: set "
                "generation.tasks to T2I, T2V or both."
            )
        if not self.tasks:
            raise ConfigError("generation.tasks must name at least one task, e.g. [T2V].")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, which names are made of, without unused later ones."""
        unused: tuple[tuple[str, Any], ...] = (
            ("num_candidates", {}),
            ("prompts", ()),
            ("samples_a_prompt", 1),
        )
        return {k: v for k, v in asdict(self).items() if (k, v) not in unused}

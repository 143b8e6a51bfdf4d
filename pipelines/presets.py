"""Named runs: the settings that ``--preset`` begins with."""

from collections.abc import Mapping
from dataclasses import replace

from nuwa_model.presets import PRESETS, SKETCH_VQGANS, VQGANS
from pipelines.config import (
    ClipsConfig,
    DatasetConfig,
    GenerationConfig,
    RunConfig,
    ShapesConfig,
    TokenizerTrainingConfig,
    TrainingConfig,
)

# Sized for two CPU cores and a quarter of an hour; docs/decisions/demo.md has the figures.
_DEMO = RunConfig(
    store="demo",
    dataset=DatasetConfig(shapes=ShapesConfig(num_train=1536, num_validation=256)),
    # JPEG would add noise to every token: docs/decisions/demo.md.
    clips=ClipsConfig(size=32, frame_format="png"),
    model=PRESETS["demo"],
    vqgan=VQGANS["demo"],
    vqgan_seg=SKETCH_VQGANS["demo"],
    vqgan_training=TokenizerTrainingConfig(
        steps=900,
        batch_size=8,
        adversarial_start=840,
        adversarial_weight=0.05,
        squared_weight=8.0,
        rate_weight=0.4,
        log_every=20,
        checkpoint_every=400,
        num_workers=0,
    ),
    vqgan_seg_training=TokenizerTrainingConfig(
        # No token of a sketch is ever predicted, so that they need not be few.
        steps=600,
        batch_size=8,
        learning_rate=2e-3,
        adversarial_weight=0.0,
        log_every=10,
        num_workers=0,
    ),
    training=TrainingConfig(
        steps=1600,
        batch_size=4,
        images_per_video=10,
        excerpt_share=0.7,
        opening_share=0.8,
        tasks={"T2I": 0.3, "T2V": 0.55, "V2V": 0.15},
        learning_rate=2e-3,
        ema_decay=0.99,
        zero_stage=0,  # there is nothing to partition, and a step takes a twentieth less
        # Two processes of one thread each learn twice as fast as one of two: the products of
        # a model this small are too small to share.
        num_workers=0,
        checkpoint_every=300,
        log_every=20,
    ),
    finetuning=TrainingConfig(
        tasks={"S2V": 1.0}, given_frames=1, steps=0, batch_size=4, learning_rate=5e-4
    ),
    generation=GenerationConfig(
        num_samples=256, num_workers=2, temperature=0.7, top_p=1.0, guidance=1.0
    ),
)

RUN_PRESETS: Mapping[str, RunConfig] = {
    "tiny": RunConfig(),
    "demo": _DEMO,
    # All eight tasks: what the demo learned goes on with sketches.
    "demo_full": replace(
        _DEMO,
        finetuning=replace(
            _DEMO.training,
            steps=700,
            tasks={"S2V": 0.28, "S2I": 0.1, "T2V": 0.38, "T2I": 0.12, "V2V": 0.12},
            given_frames=1,
            learning_rate=1e-3,
        ),
        generation=replace(
            _DEMO.generation,
            tasks=("T2I", "T2V", "V2V", "S2I", "S2V", "I2I", "TI2I", "TV2V"),
            num_samples=128,
            # A hole is drawn without a look at what is known below it.
            num_candidates={"I2I": 16, "TI2I": 16},
        ),
    ),
    **{
        name: RunConfig(
            store=f"runs/{name}",
            clips=ClipsConfig(
                size=PRESETS[name].target_grid.h * VQGANS[name].factor,
                num_frames=PRESETS[name].target_grid.s,
            ),
            model=PRESETS[name],
            vqgan=VQGANS[name],
            vqgan_seg=SKETCH_VQGANS[name],
            vqgan_training=TokenizerTrainingConfig(
                steps=200_000, batch_size=64, learning_rate=3e-4, adversarial_start=50_000
            ),
            vqgan_seg_training=TokenizerTrainingConfig(
                steps=50_000, batch_size=64, learning_rate=3e-4, adversarial_weight=0.0
            ),
            training=TrainingConfig(
                steps=200_000,
                batch_size=128,
                checkpoint_every=1000,
                ema_decay=0.9999,
                zero_stage=2,
                log_every=50,
            ),
            finetuning=TrainingConfig(
                tasks={"T2V": 1.0},
                given_frames=1,
                steps=20_000,
                batch_size=128,
                learning_rate=1e-4,
                checkpoint_every=1000,
                ema_decay=0.9999,
                zero_stage=2,
                log_every=50,
            ),
        )
        for name in ("base", "nuwa_870m", "nuwa_256")
    },
}

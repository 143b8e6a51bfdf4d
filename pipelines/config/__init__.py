"""One tree of settings for every flow and job (D6); ``pipelines.settings`` loads it.

Importing this package loads neither torch nor Ray.
"""

from pipelines.config.ablation import AblationConfig
from pipelines.config.data import (
    ClipsConfig,
    DatasetConfig,
    FetchConfig,
    ShapesConfig,
    TokenizeConfig,
)
from pipelines.config.generation import GenerationConfig
from pipelines.config.run import RunConfig, config_hash, config_tree
from pipelines.config.training import TokenizerTrainingConfig, TrainingConfig

__all__ = [
    "AblationConfig",
    "ClipsConfig",
    "DatasetConfig",
    "FetchConfig",
    "GenerationConfig",
    "RunConfig",
    "ShapesConfig",
    "TokenizeConfig",
    "TokenizerTrainingConfig",
    "TrainingConfig",
    "config_hash",
    "config_tree",
]

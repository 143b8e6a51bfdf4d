"""Distance between two clouds of features."""

from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from nuwa_model.errors import ConfigError


def frechet_distance(
    real: Float[Tensor, "real features"], generated: Float[Tensor, "generated features"]
) -> Float[Tensor, ""]:
    """Squared Fréchet distance between the Gaussians fitted to each cloud; zero if they agree.

    FID of Heusel et al. 2017 without its network: the features are the caller's. Computed in
    double precision: with fewer samples than features, single precision is already wrong in the
    fourth digit. Its bias grows as samples become fewer, so compare equal numbers of samples
    only.

    Args:
        real: Features of real pictures or clips.
        generated: Features of generated ones.

    Raises:
        ConfigError: A cloud has fewer than two points, and so no covariance.
    """
    fewest = min(len(real), len(generated))
    if fewest < 2:
        raise ConfigError(
            f"A Fréchet distance needs at least 2 real and 2 generated feature vectors, got "
            f"{len(real)} and {len(generated)}; give it more clips or more samples."
        )
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).to(real.device)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    # Rounding can leave a distance of zero a hair below it.
    return metric.compute().clamp(min=0)


class _Given(nn.Identity):
    """The features are there already: torchmetrics asks a network, and gets them back."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

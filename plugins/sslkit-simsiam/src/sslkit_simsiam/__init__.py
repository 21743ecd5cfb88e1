"""SimSiam (Chen and He 2021): two views of an image predict each other, without negatives or a teacher."""

# B images, D dimensions of the projection

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity

from sslkit import Backbone, Method, Progress, Setup, StepOutput, Views, hookimpl
from sslkit.nn.heads import mlp_head

SSLKIT_API = "1"


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Their equation 1: [B, D] each -> [], -1 to 1, without a gradient to the target."""
    return -cosine_similarity(prediction.float(), target.detach().float(), dim=1).mean()


@dataclass
class SimSiamConfig:
    """SimSiam's part of a recipe."""

    dim: int = 128
    """Width of the projection, >= 4 (paper: 2048); the predictor's hidden layer has a quarter of it."""

    def __post_init__(self) -> None:
        if self.dim < 4:
            raise ValueError(f"'dim' is {self.dim}, but must be 4 or more")


class SimSiam(Method):
    """From each view a predictor guesses the projection of the other view, which gets no gradient."""

    Config = SimSiamConfig

    def __init__(self, config: SimSiamConfig, setup: Setup) -> None:
        super().__init__()
        self.backbone = setup.backbone()
        widths = (self.backbone.embed_dim, config.dim, config.dim, config.dim)
        self.projector = mlp_head(widths, last_norm=True, last_affine=False)
        self.predictor = mlp_head((config.dim, config.dim // 4, config.dim))

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        first, second = (self.backbone(view) for view in views.global_views[:2])  # [B, features] each
        z1, z2 = self.projector(first), self.projector(second)  # [B, D]
        loss = (negative_cosine(self.predictor(z1), z2) + negative_cosine(self.predictor(z2), z1)) / 2
        return StepOutput(loss, features=first.detach())


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"simsiam": SimSiam}

"""GLOM as a backbone: `backbone.name=glom`."""

# B images, C channels, L levels, N places (patches), D features, T steps

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sslkit import Backbone, Tokens
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit_glom.columns import Columns
from sslkit_glom.shape import Shape

NAME = "glom"


class Glom(Backbone):
    """Columns of levels at each patch, which settle into islands of agreement (Hinton 2021).

    `layers` are the levels after the last step, from parts to the whole, `tokens` the top one, and the
    features of an image are the mean of its top level. There is no CLS token, so `cls_attention` is None.

    Args:
        channels: of the images, C.
        image_size: side of the global crops in pixels; any other multiple of the patches is taken too.
        drop_path_rate: how often a net is not heard for an image while training, 0 to below 1.
        patch_size: side of a place in pixels, >= 1.
        levels: of each column, L >= 2.
        dim: width of a level, D >= 1, and of the features.
        hidden: width of the nets' hidden layer as a multiple of `dim`, above 0.
        steps: T >= `levels`, which it takes for the top level to hear of the image; None: 2 L, so that it
            can answer.
        radius: how far a place attends, in places, >= 0: one number, or one for each level, the lowest
            first; None: over the whole image.
        attend_self: whether a place's consensus has a part of its own.
        temperature: of the softmax over the places' cosines, > 0; small: a place listens to its likes.
            One number, or one for each level.
        frequencies: of the coordinates that top-down nets are told, >= 0; 0: they do not know the place.

    Raises:
        RecipeError: a value is out of its range, or `image_size` is not made of whole patches.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        drop_path_rate: float = 0.0,
        patch_size: int = 4,
        levels: int = 4,
        dim: int = 64,
        hidden: float = 2.0,
        steps: int | None = None,
        radius: float | Sequence[float | None] | None = None,
        attend_self: bool = False,
        temperature: float | Sequence[float] = 0.1,
        frequencies: int = 4,
    ) -> None:
        super().__init__()
        shape = Shape(
            channels=channels,
            image_size=image_size,
            drop_path_rate=drop_path_rate,
            patch_size=patch_size,
            levels=levels,
            dim=dim,
            hidden=hidden,
            steps=2 * levels if steps is None and isinstance(levels, int) else steps or 0,
            radius=radius,
            attend_self=attend_self,
            temperature=temperature,
            frequencies=frequencies,
        )
        self._metadata: Mapping[str, Any] = {"name": NAME, "args": shape.args}
        self.embed_dim, self.patch_size, self.levels = dim, patch_size, levels
        self._check_size(image_size, image_size)
        self._network = Columns(shape)

    @property
    def network(self) -> Columns:
        return self._network

    @property
    def export_metadata(self) -> Mapping[str, Any]:
        """`Glom(**args)` builds the network again."""
        return self._metadata

    def forward(self, x: Tensor) -> Tensor:
        self._check_size(*x.shape[-2:])
        return self._network(x)  # type: ignore[no-any-return]

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        """The top level. Masked places' lowest level is told `mask_token` in place of their pixels.

        Without a mask token it is told nothing: its bottom-up net is left out of the mean.
        """
        return self.all_levels(x, mask)[-1]

    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        """The n highest levels after the last step, the top level last."""
        return self.all_levels(x)[-n:]

    def cls_attention(self, x: Tensor) -> Tensor | None:
        return None

    def all_levels(self, x: Tensor, mask: Tensor | None = None) -> list[Tokens]:
        """All L levels after the last step, normed, the lowest first; `mask` as in `tokens`."""
        return self._as_tokens(self._settled(x, mask), x)

    def levels_and_imagined(self, x: Tensor, mask: Tensor | None = None) -> tuple[list[Tokens], list[Tokens]]:
        """`all_levels`, and the lowest level as each higher one imagines it.

        From level 2, 3, ... down through the top-down nets alone, which are told the place: L - 1 of them.
        """
        states = self._settled(x, mask)
        imagined = self._network.imagined(states, self._grid(x))
        return self._as_tokens(states, x), self._as_tokens(imagined, x)

    def course(self, x: Tensor) -> list[list[Tokens]]:
        """`all_levels` at the start and after each step: T + 1 lists."""
        self._check_size(*x.shape[-2:])
        return [self._as_tokens(states, x) for states in self._network.course(x)]

    def untrained(self, seed: int) -> "Glom":
        """The same network with initial weights drawn from a seed, on the same device, in eval mode."""
        with seeded("untrained", seed):
            fresh = Glom(**self._metadata["args"])
        return fresh.to(self._network.initial.device).eval()

    def _settled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self._check_size(*x.shape[-2:])
        return self._network.settled(x, mask, self.mask_token)

    def _as_tokens(self, states: Tensor, x: Tensor) -> list[Tokens]:
        normed = F.layer_norm(states, states.shape[-1:])  # [L, B, N, D]
        return [Tokens(level[:, :0], level, self._grid(x)) for level in normed]

    def _grid(self, x: Tensor) -> tuple[int, int]:
        return x.shape[-2] // self._side, x.shape[-1] // self._side

    @property
    def _side(self) -> int:
        assert self.patch_size is not None
        return self.patch_size

    def _check_size(self, height: int, width: int) -> None:
        if height % self._side or width % self._side:
            raise RecipeError(
                f"images of {height} x {width} pixels do not divide into patches of {self._side}"
                f"\n  choose multiples of {self._side} for augment.global_size, augment.local_size and"
                " eval.crop, or another backbone.args.patch_size"
            )

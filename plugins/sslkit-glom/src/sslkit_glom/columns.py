"""GLOM's network: columns of levels that settle over a few steps (Hinton 2021)."""

# B images, C channels, L levels, N places, D features, T steps

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit_glom.nets import LevelNets
from sslkit_glom.positions import positions
from sslkit_glom.shape import Shape
from sslkit_glom.update import consensus, next_states, places_seen


class Columns(nn.Module):
    """A column at each place of an image; called, it gives the features of the whole."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        s = self.shape = shape
        self.embed = nn.Conv2d(s.channels, s.dim, s.patch_size, s.patch_size)
        self.initial = nn.Parameter(0.02 * torch.randn(s.levels, s.dim))  # [L, D], small: soon forgotten
        self.bottom_up = LevelNets(s.levels, s.dim, s.hidden_dim, s.dim)
        self.top_down = LevelNets(s.levels - 1, s.dim + 4 * s.frequencies, s.hidden_dim, s.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> the mean over the places of the top level, normed, [B, D]."""
        return F.layer_norm(self.settled(x)[-1], (self.shape.dim,)).mean(1)

    def settled(self, x: Tensor, missing: Tensor | None = None, instead: Tensor | None = None) -> Tensor:
        """The states after the last step, the lowest level first, not normed: [L, B, N, D]."""
        *_, last = self.course(x, missing, instead)
        return last

    def course(
        self, x: Tensor, missing: Tensor | None = None, instead: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The states at the start and after each of the steps, [L, B, N, D] each.

        Args:
            x: images [B, C, H, W], H and W multiples of the patch size.
            missing: bool [B, N], places of which the image is not looked at.
            instead: [D], what these places' lowest level is told in place of their pixels; None: nothing, its
                bottom-up net is not heard.
        """
        s = self.shape
        grid = (x.shape[-2] // s.patch_size, x.shape[-1] // s.patch_size)
        embedded = self.embed(x).flatten(2).mT[None]  # [1, B, N, D]
        if missing is not None and instead is not None:
            embedded = torch.where(missing[..., None], instead.to(embedded.dtype), embedded)
            missing = None
        seen = self._seen(grid).to(x.device)  # [L, 1, N, N]
        where = self._where(grid, embedded)
        temperature = embedded.new_tensor(s.temperatures).view(-1, 1, 1, 1)
        states = self.initial[:, None, None].expand(-1, *embedded.shape[1:])  # [L, B, N, D]
        yield states
        for _ in range(s.steps):
            bottom_up = self._heard(self.bottom_up(torch.cat([embedded, states[:-1]])))
            top_down = self._heard(self.top_down(states[1:], where))
            agreed = consensus(states, seen, temperature=temperature)
            states = next_states(states, bottom_up, top_down, agreed, missing)
            yield states

    def imagined(self, states: Tensor, grid: tuple[int, int]) -> Tensor:
        """The lowest level as each higher one imagines it, through the top-down nets alone.

        States [L, B, N, D] -> [L - 1, B, N, D], of level 2 first.
        """
        lowest, where = [], self._where(grid, states[0])
        while len(states) > 1:
            states = self.top_down(states[1:], where[: len(states) - 1])
            lowest.append(states[0])
        return torch.stack(lowest)

    def _where(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """What each top-down net is told of each place, [L - 1, B, N, 4 F]."""
        where = positions(grid, self.shape.frequencies).to(like)
        return where.expand(self.shape.levels - 1, like.shape[-3], -1, -1)

    def _seen(self, grid: tuple[int, int]) -> Tensor:
        """Which places each level's places attend to, bool [L, 1, N, N]."""
        own = self.shape.attend_self
        return torch.stack([places_seen(grid, radius=r, attend_self=own) for r in self.shape.radii])[:, None]

    def _heard(self, predictions: Tensor) -> Tensor:
        """Stochastic depth: a net is not heard for some images, the more loudly for others; [L, B, N, D]."""
        if not self.training or not self.shape.drop_path_rate:
            return predictions
        ones = torch.ones_like(predictions[:, :, :1, :1])
        return predictions * F.dropout(ones, self.shape.drop_path_rate)

"""Position embeddings resized as DINO's authors do; imports timm, so import it late."""

# B images, P prefix tokens (CLS, registers), N patches, D features

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor


class AuthorsPositionsViT(VisionTransformer):
    """timm's ViT with the position embedding of DINO's `vision_transformer.py` (`interpolate_pos_encoding`).

    Without antialias, and with `scale_factor = (n + 0.1) / sqrt(N)` instead of the exact size, which moves
    the sampling points a little. For comparing with the authors' weights and trajectories. Constructor and
    state are timm's: assign it as `__class__` of a network that has `dynamic_img_size`.
    """

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Patches [B, rows, columns, D] -> tokens with positions [B, P + N, D]."""
        prefix = [
            token.expand(len(x), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None
        ]
        positions = self._positions((x.shape[1], x.shape[2]))
        patches = x.flatten(1, 2)  # [B, N, D]
        if self.no_embed_class:
            tokens = torch.cat([*prefix, patches + positions], 1)
        else:
            tokens = torch.cat([*prefix, patches], 1) + positions
        return self.pos_drop(tokens)  # type: ignore[no-any-return]

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """[1, P + N, D], or [1, N, D] where the prefix tokens have no position."""
        table, trained = self.pos_embed, self.patch_embed.grid_size
        assert table is not None
        if grid == trained:
            return table
        prefix = 0 if self.no_embed_class else self.num_prefix_tokens
        patches = table[:, prefix:].reshape(1, *trained, -1).permute(0, 3, 1, 2)  # [1, D, rows, columns]
        wide = torch.promote_types(table.dtype, torch.float32)
        scale = [(new + 0.1) / old for new, old in zip(grid, trained, strict=True)]
        resized = F.interpolate(patches.to(wide), scale_factor=scale, mode="bicubic")
        assert tuple(resized.shape[-2:]) == grid
        return torch.cat([table[:, :prefix], resized.flatten(2).mT.to(table.dtype)], 1)

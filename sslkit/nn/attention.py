"""Reading attention out of a network that computes it without ever building the map."""

# B images, P prefix tokens (CLS, registers), N patches, d width of a head

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class AttentionCapture(TorchFunctionMode):
    """Keeps what the last attention of a forward pass was computed from, whichever module computed it.

    So that query norms, rotary positions and biases are the network's own, and the whole map is never built.
    """

    def __init__(self) -> None:
        super().__init__()
        self.call: tuple[Tensor, Tensor, Tensor | None, float | None] | None = None
        self.map: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            bound = _bind_attention(*args, **kwargs)
            self.call, self.map = bound, None
        elif func in (torch.softmax, F.softmax, Tensor.softmax) and result.ndim == 4:
            self.call, self.map = None, result  # [B, heads, P + N, P + N]
        return result

    def cls_row(self) -> Tensor | None:
        """How the first token attends to all: [B, heads, P + N]."""
        if self.map is not None:
            return self.map[:, :, 0]
        if self.call is None:
            return None
        query, key, bias, scale = self.call  # [B, heads, P + N, d]
        logits = query[:, :, :1] @ key.mT * (scale or query.shape[-1] ** -0.5)  # [B, heads, 1, P + N]
        return (logits if bias is None else logits + bias[..., :1, :]).softmax(-1)[:, :, 0]


def _bind_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None, float | None]:
    """The arguments of `scaled_dot_product_attention` that a row of the map depends on."""
    return query, key, attn_mask, scale

"""What a forward pass of a decoder reads and computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder-only transformer with grouped-query attention.

    `ffn` is the feed-forward width (of one expert where `experts` > 0); `shared_ffn` that of an expert every token visits; a
    `gated` feed-forward layer has two matrices in and one out, another one in and one out. Of `layers`, `dense_layers` have a
    feed-forward layer of width `dense_ffn` in place of experts, and `sliding_layers` see only the last `sliding_window` tokens.
    """

    id: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    tied: bool = False
    gated: bool = True
    experts: int = 0
    active_experts: int = 0
    shared_ffn: int = 0
    dense_layers: int = 0
    dense_ffn: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0

    @property
    def block_parameters(self) -> int:
        """Weights of the linear layers in all transformer blocks (what quantization touches)."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        matrices = 3 if self.gated else 2
        routed = self.hidden * (matrices * (self.ffn * max(1, self.experts) + self.shared_ffn) + self.experts)
        dense = matrices * self.hidden * self.dense_ffn
        return self.layers * attention + (self.layers - self.dense_layers) * routed + self.dense_layers * dense

    @property
    def kv_width(self) -> int:
        """Numbers that one token leaves in the KV cache of one layer."""
        return 2 * self.kv_heads * self.head_dim

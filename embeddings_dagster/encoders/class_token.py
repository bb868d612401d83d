"""The last layer of a vision tower for its class token alone, where no one looks at the other tokens it would compute.

The class token comes out as it would but for the rounding of float32; a network that is not known to its last detail
is left as it is.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class _Family:
    """Where a family of networks keeps what is needed, as paths of attributes.

    `tower` of the network is a `tower_type`, which pools by taking its first token; `layers` of the tower end with a
    `layer_type`, whose parts the other names stand for. The scales are "" where there are none.
    """

    tower: str
    tower_type: str
    layers: str
    layer_type: str
    norms: tuple[str, str]
    attention: str
    output: str
    scales: tuple[str, str] = ("", "")


def _clip(prefix: str) -> _Family:
    return _Family(
        tower="vision_model",
        tower_type=f"{prefix}VisionModel",
        layers="encoder.layers",
        layer_type=f"{prefix}EncoderLayer",
        norms=("layer_norm1", "layer_norm2"),
        attention="self_attn",
        output="out_proj",
    )


def _dino(prefix: str) -> _Family:
    return _Family(
        tower="",
        tower_type=f"{prefix}Model",
        layers="encoder.layer",
        layer_type=f"{prefix}Layer",
        norms=("norm1", "norm2"),
        attention="attention",
        output="o_proj",
        scales=("layer_scale1", "layer_scale2"),
    )


# By the class of the whole network, since it is the whole that decides which tokens are looked at: the same tower in
# CLIPForImageClassification is asked for the mean of the patches.
_FAMILIES = {
    "CLIPModel": _clip("CLIP"),
    "AltCLIPModel": _clip("AltCLIP"),
    "MetaClip2Model": _clip("MetaClip2"),
    "VisionTextDualEncoderModel": _clip("CLIP"),
    "Dinov2Model": _dino("Dinov2"),
    "Dinov2WithRegistersModel": _dino("Dinov2WithRegisters"),
}
_ATTENTION = ("eager", "sdpa")  # implementations that compute what `ClassTokenLayer` does


class ClassTokenLayer(nn.Module):
    """A transformer layer that attends to all tokens (n, tokens, width) and returns the first (n, 1, width).

    It holds the layer that it stands for, and its weights with it, so that the network can still be moved and
    converted as one.
    """

    def __init__(self, layer: nn.Module, family: _Family) -> None:
        super().__init__()
        self.layer = layer
        self._family = family

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Tensor:
        """See the class. What is masked, as no picture of ours is, goes through the layer as it was."""
        if attention_mask is not None:
            masked: Tensor = self.layer(tokens, attention_mask, **options)
            return masked[:, :1]
        layer: Any = self.layer
        family = self._family
        norms = [getattr(layer, name) for name in family.norms]
        scales = [getattr(layer, name) if name else nn.Identity() for name in family.scales]
        first = tokens[:, :1]
        first = first + scales[0](self._attend(norms[0](tokens)))
        changed: Tensor = first + scales[1](layer.mlp(norms[1](first)))
        return changed

    def _attend(self, tokens: Tensor) -> Tensor:
        """What the first of the normalised `tokens` (n, tokens, width) takes from all of them (n, 1, width)."""
        attention = getattr(self.layer, self._family.attention)
        query = _heads(attention.q_proj(tokens[:, :1]), attention.head_dim)
        key = _heads(attention.k_proj(tokens), attention.head_dim)
        value = _heads(attention.v_proj(tokens), attention.head_dim)
        # Both families scale by head_dim ** -.5, which is what torch does by itself.
        found = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out: Tensor = getattr(attention, self._family.output)(found)
        return out


def class_token_only(network: nn.Module) -> bool:
    """Make the last layer of a CLIP's or a DINOv2's vision tower compute its class token alone; whether it was done.

    The network's pooled output and `last_hidden_state[:, 0]` stay what they were; of `last_hidden_state` nothing else
    is left. Done in place, and once: a second call finds a layer that it does not know.
    """
    family = _FAMILIES.get(type(network).__name__)
    if family is None or not _is_of_transformers(network) or network.training:
        return False
    tower = attrgetter(family.tower)(network) if family.tower else network
    if type(tower).__name__ != family.tower_type or not _is_of_transformers(tower):
        return False
    layers = attrgetter(family.layers)(tower)
    if not len(layers) or not _is_known(layers[-1], family):
        return False
    layers[-1] = ClassTokenLayer(layers[-1], family)
    return True


def _is_known(layer: nn.Module, family: _Family) -> bool:
    """Whether `layer` is of the family's own class and computes attention in one of the ways that come to the same."""
    if type(layer).__name__ != family.layer_type or not _is_of_transformers(layer):
        return False
    attention = getattr(layer, family.attention)
    scale = attention.scale if hasattr(attention, "scale") else attention.scaling
    return (
        attention.config._attn_implementation in _ATTENTION
        and not attention.is_causal
        and scale == attention.head_dim**-0.5
    )


def _is_of_transformers(module: nn.Module) -> bool:
    """Whether it is a class of the library itself, not another one of the same name, and no one watches it."""
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return type(module).__module__.startswith("transformers.models.") and not hooked


def _heads(projected: Tensor, head_dim: int) -> Tensor:
    """(n, tokens, heads * head_dim) as (n, heads, tokens, head_dim)."""
    return projected.view(*projected.shape[:-1], -1, head_dim).transpose(1, 2)

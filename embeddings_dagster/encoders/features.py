"""What a network says of a picture: one vector, whatever the family of models calls it."""

from collections.abc import Callable, Iterable
from typing import Any

Features = Callable[[Any], Any]

# The parts of a network that only one of its sides needs, by the names that CLIP and all its kin have for them.
PICTURES = ("vision_model", "visual_projection")
TEXTS = ("text_model", "text_projection")


def image_features(network: Any) -> Features:
    """A function from pixels (n, 3, height, width) to features (n, D), both tensors.

    CLIP and its kin (SigLIP among them) project what they pooled; DINOv2's vector is its class token after the last
    layer norm.
    """
    if hasattr(network, "get_image_features"):
        return lambda pixels: network.get_image_features(pixel_values=pixels).pooler_output
    return lambda pixels: network(pixel_values=pixels).last_hidden_state[:, 0]


def without(network: Any, parts: Iterable[str]) -> Any:
    """`network` itself, rid of those of its parts that it has: they would lie in memory for nothing."""
    for name in parts:
        if hasattr(network, name):
            setattr(network, name, None)
    return network

"""What a network says of a picture: one vector, whatever the family of models calls it."""

from collections.abc import Callable
from typing import Any

Features = Callable[[Any], Any]


def image_features(network: Any) -> Features:
    """A function from pixels (n, 3, height, width) to features (n, D), both tensors.

    CLIP and its kin (SigLIP among them) project what they pooled; DINOv2's vector is its class token after the last
    layer norm.
    """
    if hasattr(network, "get_image_features"):
        return lambda pixels: network.get_image_features(pixel_values=pixels).pooler_output
    return lambda pixels: network(pixel_values=pixels).last_hidden_state[:, 0]

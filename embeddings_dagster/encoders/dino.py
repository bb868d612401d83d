"""DINOv2: pictures by how they look; the vector is the class token after the last layer norm."""

from typing import Any

from embeddings_dagster.encoders.network import NetworkEncoder


class DinoEncoder(NetworkEncoder):
    """The picture side is all there is."""

    def _image_features(self, network: Any, pixels: Any) -> Any:
        return network(pixel_values=pixels).last_hidden_state[:, 0]

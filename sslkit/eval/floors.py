"""What a trained network has to beat."""

from copy import deepcopy

from sslkit.core.backbone import Backbone
from sslkit.core.randomness import seeded


def untrained(backbone: Backbone, seed: int) -> Backbone | None:
    """The same network with initial weights drawn from a seed, on the same device and in eval mode.

    None where timm cannot build it again: a plugin's own network.
    """
    metadata = backbone.export_metadata
    if "name" not in metadata:
        return None
    import timm

    if not timm.is_model(metadata["name"]):
        return None
    with seeded("untrained", seed):
        fresh = timm.create_model(metadata["name"], num_classes=0, **metadata["args"])
    floor = deepcopy(backbone)
    floor.network.load_state_dict(fresh.state_dict())
    return floor.eval()

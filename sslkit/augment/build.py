"""The augmentation that a recipe asks for."""

from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image_format(recipe: Recipe) -> ImageFormat:
    """Channels, mean and deviation: the recipe's, or ImageNet's for 3 channels, .5 and .25 otherwise."""
    data = recipe.data
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if data.channels == 3 else ((0.5,), (0.25,))
    count = data.channels // len(mean)
    return ImageFormat(data.channels, tuple(data.mean or mean * count), tuple(data.std or std * count))


def build_augmentation(recipe: Recipe, registry: Registry) -> Augmentation:
    """Raises `RecipeError` for what cannot work with the recipe's channels."""
    cls = registry.get("augmentations", recipe.augment.name, where="augment.name")
    augmentation: Augmentation = cls(recipe.augment.config, image_format(recipe))
    return augmentation

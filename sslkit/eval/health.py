"""What tells a collapsed network from a healthy one."""

from sslkit.losses.dino import teacher_entropy_and_kl

__all__ = ["teacher_entropy_and_kl"]

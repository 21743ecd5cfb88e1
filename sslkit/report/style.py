"""The style of pictures, for the rooms that take it from here."""

from sslkit.style import COLOURS, DPI, GREY, HEAT, OUTLINE, bare, new_figure, save, shown, title

__all__ = ["COLOURS", "DPI", "GREY", "HEAT", "OUTLINE", "bare", "new_figure", "save", "shown", "title"]

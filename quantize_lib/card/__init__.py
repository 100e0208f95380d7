"""The model card: what was made, how, and only figures that were measured."""

from quantize_lib.card.beside import quality_beside
from quantize_lib.card.render import front_matter, render_card

__all__ = ["front_matter", "quality_beside", "render_card"]

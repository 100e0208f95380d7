"""The model card: what was made, how, and only figures that were measured."""

from quantize_lib.card.render import render_card

__all__ = ["render_card"]

"""Pictures of measured figures, as SVG and PNG: the same bytes for the same figures."""

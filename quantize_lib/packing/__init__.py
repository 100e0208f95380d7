"""How codes are laid out in tensors; the torch side of formats."""

"""Sizes as words of a config's keys: `num_attention_heads*head_dim`, `hidden_size/num_attention_heads`."""

from __future__ import annotations

from collections.abc import Mapping


def evaluate(word: str, sizes: Mapping[str, int]) -> int | None:
    """The size that an expression gives.

    Args:
        word: products of keys and numbers, their sums, a quotient, or several such with `|` between them, of
            which the first counts whose keys all have a value; "?" is a size that no key says.
        sizes: by key.

    Returns:
        None where a key of it has no value.
    """
    return next((size for one in word.split("|") if (size := _sum(one, sizes)) is not None), None)


def _sum(word: str, sizes: Mapping[str, int]) -> int | None:
    terms = [_quotient(term, sizes) for term in word.split("+")]
    return None if None in terms else sum(term for term in terms if term is not None)


def _quotient(word: str, sizes: Mapping[str, int]) -> int | None:
    above, _, below = word.partition("/")
    whole, part = _product(above, sizes), _product(below, sizes) if below else 1
    return None if whole is None or not part else whole // part


def _product(word: str, sizes: Mapping[str, int]) -> int | None:
    product = 1
    for factor in word.split("*"):
        size = int(factor) if factor.isdecimal() else sizes.get(factor)
        if size is None:
            return None
        product *= size
    return product

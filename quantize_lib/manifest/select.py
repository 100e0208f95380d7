"""Which cells of a manifest are made, and that each has an id and a repository of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantize_lib.devices import DeviceName
from quantize_lib.manifest.problems import Path
from quantize_lib.methods.common import AUTO_BITS, is_automatic
from quantize_lib.names import repository_fault, safe_name_fault
from quantize_lib.plan.cells import Cell
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.targets import PublishSpec, get_target
from quantize_lib.wording import allowed, meant, show

Report = Callable[[Path, str], None]
Place = Callable[[Path], str]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A cell before it is known to be wanted and unique, with the entry that it comes from."""

    path: Path
    model: ModelSpec
    cell: Cell
    device: DeviceName


def select(drafts: Sequence[Draft], data: Mapping[str, Any], report: Report) -> list[Draft]:
    """What `include` and `exclude` leave; a pattern that matches no cell is reported."""
    included = _matched("include", drafts, data, report)
    excluded = _matched("exclude", drafts, data, report)
    if included is None or excluded is None:
        return list(drafts)
    left = [
        draft
        for index, draft in enumerate(drafts)
        if ("include" not in data or index in included) and index not in excluded
    ]
    if drafts and not left and "watch" not in data:
        key = "exclude" if "exclude" in data else "include"
        report((key,), "nothing is left to make; every combination is left out.")
    return left


def check_unique(drafts: Iterable[Draft], publish: PublishSpec, report: Report, place: Place) -> None:
    """Report cells whose id or repository is unsafe, or another cell's too.

    Parts of one model share a repository, where they are not proposed one by one. Names are compared without
    regard to case: some file systems, and the Hub, see no difference.
    """
    ids: dict[str, Draft] = {}
    repositories: dict[str, dict[str, Draft]] = {}
    for draft in drafts:
        cell, path = draft.cell, draft.path
        if fault := safe_name_fault(cell.id):
            report(path, f"the cell's id does not do: {fault}. Give the entry another `name:`.")
        first = ids.setdefault(cell.id.casefold(), draft)
        if first is not draft:
            where = place(first.path)
            report(
                path,
                f"the cell id {show(cell.id)} is that of {where} too. Give one of the entries a `name:`.",
            )
            continue
        if not cell.repository:
            continue
        if fault := repository_fault(cell.repository):
            report(path, f"the repository {show(cell.repository)} is not a name that the Hub takes: {fault}.")
        others = repositories.setdefault(cell.repository.casefold(), {})
        first = others.setdefault(cell.part.casefold(), draft)
        if first is draft:
            # Parts of one model lie beside each other.
            first = next((one for one in others.values() if not _go_together(one, draft)), draft)
            if first is draft and len(others) == 2 and _proposed(publish):
                report(
                    path,
                    f"the repository {show(cell.repository)} of {show(cell.id)} is to hold others, too, and "
                    "of pull requests that write one card only one can be merged. Give each a repository "
                    'of its own, by publish.name: "{name}", or publish without pull requests.',
                )
        if first is not draft:
            other = f"{show(first.cell.id)} ({place(first.path)})"
            report(
                path,
                f"the repository {show(cell.repository)} of {show(cell.id)} is that of {other} too. "
                "Give `publish.name` what tells them apart: {model}, {method}, {bits} or {name}.",
            )


def _proposed(publish: PublishSpec) -> bool:
    option = get_target(publish.to).proposes
    return option is not None and publish[option]


def _go_together(one: Draft, other: Draft) -> bool:
    """Whether a repository may hold both: one cell, or two parts of the same model."""
    if one is other:
        return True
    return bool(one.cell.part and other.cell.part) and one.model == other.model


def check_model_names(models: Iterable[tuple[Path, ModelSpec]], report: Report, place: Place) -> None:
    """Report models of one name: their cells and jobs would share ids."""
    names: dict[str, Path] = {}
    for path, model in models:
        first = names.setdefault(model.name.casefold(), path)
        if first != path:
            where = place(first)
            report(path, f"the model's name {show(model.name)} is that of {where} too. Give one a `name:`.")


def _matched(key: str, drafts: Sequence[Draft], data: Mapping[str, Any], report: Report) -> set[int] | None:
    """The drafts that the patterns of `key` match; None where a pattern matches none."""
    matched: set[int] = set()
    all_match = True
    for number, pattern in enumerate(data.get(key, ())):
        found = {index for index, draft in enumerate(drafts) if _matches(pattern, draft)}
        # A pattern may be meant for a model that a rule has not found yet.
        if not found and "watch" not in data:
            report((key, number), _no_match(pattern, drafts))
            all_match = False
        matched |= found
    return matched if all_match else None


def _matches(pattern: Mapping[str, Any], draft: Draft) -> bool:
    settings = draft.cell.settings
    bits = AUTO_BITS if is_automatic(settings) else settings.bits
    return (
        pattern.get("model", draft.model.name) in (draft.model.name, draft.model.id)
        and pattern.get("method", settings.method) == settings.method
        and pattern.get("bits", bits) == bits
    )


def _no_match(pattern: Mapping[str, Any], drafts: Sequence[Draft]) -> str:
    names = list(dict.fromkeys(draft.model.name for draft in drafts))
    ids = [draft.model.id for draft in drafts]
    if "model" in pattern and pattern["model"] not in (*names, *ids):
        return (
            f"no model is called {show(pattern['model'])}. {allowed(names)}{meant(pattern['model'], names)}"
        )
    return "matches no cell; every combination of its values is absent from `models`."

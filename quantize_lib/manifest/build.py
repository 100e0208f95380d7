"""What the schema cannot say: files that exist, names that do, settings that meet their method."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from quantize_lib.devices import DeviceName
from quantize_lib.formats import named_format
from quantize_lib.manifest.card_words import resolve_card
from quantize_lib.manifest.check import Finding
from quantize_lib.manifest.entry_settings import entry_settings, settings_faults
from quantize_lib.manifest.evaluate_spec import evaluate_spec
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.publish_words import resolve_publish
from quantize_lib.manifest.schema import defaults_of, definition
from quantize_lib.manifest.select import Draft, Place, check_model_names, check_unique, select
from quantize_lib.manifest.state_words import STATE, resolve_state
from quantize_lib.manifest.text import default_calibration, merge_text, text_spec
from quantize_lib.manifest.text_checks import check_texts
from quantize_lib.manifest.widths import has_several_widths, told_apart_by, width_word, widths_of
from quantize_lib.manifest.written import Written
from quantize_lib.methods import Settings, get_method
from quantize_lib.names import (
    local_folder,
    render,
    repository_fault,
    safe_name_fault,
    template_faults,
)
from quantize_lib.plan.cells import Cell, Job, Plan, RunnersSpec
from quantize_lib.plan.jobs import jobs_of
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.watch_rule import WatchRule
from quantize_lib.state_stores import StateSpec
from quantize_lib.targets import PublishSpec
from quantize_lib.wording import show

_BITS = re.compile(r"[-_.]?\{bits\}bit")
_OF_A_MODEL = ("quantize", "calibration", "evaluate", "defaults")
"""What a rule says of each model that it finds."""


def build(
    data: Mapping[str, Any],
    *,
    path: Path | None,
    base: Path,
    place: Place,
    found: Sequence[tuple[int, str]] = (),
) -> Plan | list[Finding]:
    """The plan of a manifest's plain data, or everything that is wrong with it.

    Args:
        data: the manifest's root.
        path: absolute path of the file, if there is one.
        base: absolute folder that its paths are relative to.
        place: how to name a path in a message about another place.
        found: models of the Hub that rules of `watch` found, each with the rule's index. They are appended to
            `models`, in this order.
    """
    builder = _Builder(data, base, place, found)
    plan = builder.plan(path)
    return builder.findings or plan


class _Builder(Written):
    def __init__(
        self, data: Mapping[str, Any], base: Path, place: Place, found: Sequence[tuple[int, str]]
    ) -> None:
        super().__init__(data, base)
        self.place = place
        models = data.get("models") if isinstance(data, dict) else None
        self.written = len(models) if isinstance(models, list) else 0
        if found:
            # What is found says nothing that its rule does not, and is checked there.
            self.data = {**data, "models": [*data.get("models", ()), *_entries(data, found)]}

    def plan(self, path: Path | None) -> Plan:
        publish, state = self.publish(), self.state()
        models = list(self.models())
        check_model_names(((("models", index), spec) for index, spec in models), self.report, self.place)
        self.check_rules()
        drafts = [draft for index, spec in models for draft in self.drafts(index, spec, publish)]
        # Where an entry is faulty its cells are not known, and a pattern may be meant for them.
        wanted = select(drafts, self.data, self.report) if not self.faulty else drafts
        check_unique(wanted, publish, self.report, self.place)
        check_texts(self, models=self.written)
        jobs: list[Job] = []
        for index, spec in models if not self.findings else ():
            cells = [
                (replace(draft.cell, position=position), draft.device)
                for position, draft in enumerate(wanted)
                if draft.model is spec
            ]
            if cells:
                jobs += jobs_of(self.job(index, spec), cells)
        return Plan(
            manifest=path,
            jobs=tuple(jobs),
            publish=publish,
            state=state,
            runners=self.runners(),
            watch=tuple(self.rules()),
            warnings=tuple(_warnings(wanted)),
            data=self.data,
        )

    def models(self) -> Iterator[tuple[int, ModelSpec]]:
        models = self.data.get("models")
        for index, model in enumerate(models if isinstance(models, list) else ()):
            path = ("models", index)
            if not isinstance(model, dict) or not isinstance(model.get("id"), str):
                continue
            if self.clean(*path, "id") and self.clean(*path, "name") and (spec := self.model(path, model)):
                yield index, spec

    def model(self, path: KeyPath, model: Mapping[str, Any]) -> ModelSpec | None:
        """The model; None where its name does not do, so that its cells have no ids."""
        identity = model["id"]
        folder = None
        try:
            # What was found on the Hub is there, whatever lies beside the manifest.
            folder = local_folder(identity, self.base) if path[1] in range(self.written) else None
        except ValueError as error:
            self.report((*path, "id"), f"{error}.")
        else:
            fault = repository_fault(identity)
            if folder is None and fault:
                message = (
                    f"{show(identity)} is neither a folder here nor the id of a model on the Hub: {fault}."
                )
                self.report((*path, "id"), message)
        if folder and "revision" in model:
            self.report(
                (*path, "revision"), "a local folder has no revisions; it is told apart by its content."
            )
        if folder and model.get("trust_remote_code") is True:
            message = "the code of a local folder cannot be pinned to a commit, so it is never run."
            self.report((*path, "trust_remote_code"), message)
        name = model.get("name", folder.name if folder else identity.rstrip("/").rpartition("/")[2])
        if fault := safe_name_fault(name):
            key = "name" if "name" in model else "id"
            self.report((*path, key), f"the model's name does not do: {fault}. Give the model a `name:`.")
            return None
        return ModelSpec(
            id=identity,
            name=name,
            local=folder,
            revision=str(model.get("revision", "main")),
            trust_remote_code=model.get("trust_remote_code") is True,
            allow_pickle=model.get("allow_pickle") is True,
            allow_quantized_base=model.get("allow_quantized_base") is True,
        )

    def drafts(self, index: int, spec: ModelSpec, publish: PublishSpec) -> Iterator[Draft]:
        entries = self.data["models"][index].get("quantize")
        defaults = {**self.at("defaults"), **self.at("models", index, "defaults")}
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            path = ("models", index, "quantize", number)
            if not self.clean(*path):
                continue
            for width in widths_of(entry):
                settings = entry_settings(entry, defaults, width)
                for key, message in settings_faults(entry, settings, width):
                    self.report((*path, key), message)
                cell = self.cell(spec, entry, settings, publish)
                device = entry.get("device", defaults.get("device", definition("device")["default"]))
                yield Draft(path=path, model=spec, cell=cell, device=cast(DeviceName, device))

    def cell(
        self, spec: ModelSpec, entry: Mapping[str, Any], settings: Settings, publish: PublishSpec
    ) -> Cell:
        slug, width = get_method(settings.method).slug, width_word(settings)
        identity = f"{spec.name}-{slug}-{width}"
        if "name" in entry:
            # Appended wherever there is a list, so that a further width renames nothing.
            identity = f"{entry['name']}-{width}" if has_several_widths(entry) else entry["name"]
        template = publish.name
        if "name" in entry and "{name}" not in template:
            template = "{name}"
        named = identity
        if part := named_format(settings).part(settings):
            # The repository holds all of a model's, so its name has no width.
            template = _BITS.sub("", template).lstrip("-_.") or template
            named = entry.get("name", identity)
        # What stands there for a size are no bits.
        template = template.replace("{bits}bit", width)
        bits = width.removesuffix("bit")
        values = {"model": spec.name, "method": slug, "bits": bits, "name": named}
        repository = (
            "" if template_faults(template) or not self.clean("publish") else render(template, values)
        )
        if repository and publish.namespace:
            repository = f"{publish.namespace}/{repository}"
        return Cell(id=identity, settings=settings, repository=repository, part=part)

    def publish(self) -> PublishSpec:
        given, defaults = self.at("publish"), defaults_of("publish")
        for fault in template_faults(given.get("name", defaults["name"])):
            self.report(("publish", "name"), fault)
        card = resolve_card(
            given.get("card", {}), lambda key, reason: self.report(("publish", "card", key), reason)
        )
        return resolve_publish(
            {**given, "card": card},
            defaults,
            self.base,
            lambda key, reason: self.report(("publish", key), reason),
        )

    def state(self) -> StateSpec:
        return resolve_state(
            self.at(STATE),
            defaults_of(STATE),
            self.base,
            lambda key, reason: self.report((STATE, key), reason),
        )

    def runners(self) -> RunnersSpec:
        values = {**defaults_of("runners"), **self.at("runners")}
        return RunnersSpec(**{key: tuple(labels) for key, labels in values.items()})

    def rules(self) -> Iterator[WatchRule]:
        for index, _ in enumerate(self.data.get("watch", ()) if self.clean("watch") else ()):
            rule = {**defaults_of("watch"), **self.at("watch", index)}
            yield WatchRule(
                organization=rule.get("organization"),
                collection=rule.get("collection"),
                models=tuple(rule["models"]),
                exclude=tuple(rule["exclude"]),
                limit=rule["limit"],
            )

    def check_rules(self) -> None:
        """Report cells that would share an id in every model that a rule finds."""
        rules = self.data.get("watch")
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            if not self.clean("watch", index):
                continue
            seen: set[tuple[object, ...]] = set()
            for number, entry in enumerate(rule["quantize"]):
                made = {told_apart_by(entry, width) for width in widths_of(entry)}
                if made & seen:
                    message = "method and width of an earlier entry: their cells would have the same id."
                    self.report(("watch", index, "quantize", number), message)
                seen |= made

    def job(self, index: int, spec: ModelSpec) -> Job:
        """What all jobs of a model have in common."""
        text = merge_text(default_calibration(), self.at("defaults", "calibration"))
        text = merge_text(text, self.at("models", index, "calibration"))
        evaluate = {**self.at("evaluate"), **self.at("models", index, "evaluate")}
        return Job(
            id=spec.name,
            model=spec,
            device="auto",
            calibration=text_spec(text, self.base),
            evaluate=evaluate_spec(evaluate, self.base),
            cells=(),
        )


def _entries(data: Mapping[str, Any], found: Sequence[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """Found models as `models` would have them."""
    for index, identity in found:
        rule = data["watch"][index]
        yield {"id": identity, **{key: rule[key] for key in _OF_A_MODEL if key in rule}}


def _warnings(drafts: list[Draft]) -> Iterator[str]:
    for draft in drafts:
        settings = draft.cell.settings
        if settings.bits in named_format(settings).experimental(get_method(settings.method)):
            yield (
                f"{draft.cell.id}: {settings.bits} bits are experimental for {settings.method}: "
                "few kernels load them, and quality drops."
            )

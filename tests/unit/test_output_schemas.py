"""The schemas of what is written allow keys that a later version adds, everywhere; readers pass them over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.errors import ErrorCode
from quantize_lib.files import read_json, write_json
from quantize_lib.manifest import parse_manifest
from quantize_lib.metrics import LIMITS, METRICS
from quantize_lib.plan.documents import plan_json
from quantize_lib.plan.estimate import JobEstimate
from quantize_lib.plan.plan_schema import plan_schema
from quantize_lib.plan.verdict import Verdict
from quantize_lib.report import read_publish_spec, read_report, write_report
from quantize_lib.report.report_schema import report_schema
from quantize_lib.source.facts import Terms
from quantize_lib.targets import DEFAULT_TARGET
from tests.support.records import MEASURED, RECORD

SCHEMAS = {"plan": plan_schema, "report": report_schema}
LATER = {"x_of_later": {"any": ["thing"]}}
MANIFEST = """
version: 1
models: [{id: acme/m, quantize: [{method: gptq, bits: 4}]}]
evaluate: {perplexity: {texts: [t]}, max_kl_divergence: 1}
"""


def objects(schema: Any, path: str = "$") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of a schema that describes an object."""
    if isinstance(schema, dict):
        kinds = schema.get("type", ())
        if kinds == "object" or "object" in kinds:
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from objects(value, f"{path}[{number}]")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_object_of_an_output_allows_added_keys(name: str) -> None:
    found = dict(objects(SCHEMAS[name]()))
    assert len(found) > 8
    closed = [path for path, words in found.items() if words.get("additionalProperties") in (False, None)]
    assert closed == []


def added(value: Any) -> Any:
    """The value with a key more in every object whose keys have meanings of their own."""
    if isinstance(value, list):
        return [added(item) for item in value]
    if isinstance(value, dict):
        more = {} if _is_map(value) else LATER
        return {**{key: added(item) for key, item in value.items()}, **more}
    return value


def _is_map(value: Mapping[str, Any]) -> bool:
    """Whether the keys are names of things: of versions, files, limits, figures."""
    return not value or value.keys() <= {
        *("model-quantizer", "transformers", "gptqmodel", "torch", "config.json"),
        *LIMITS,
        *METRICS,
        *("base", "settings", "calibration"),
    }


def test_a_plan_of_a_later_version_is_valid(tmp_path: Path) -> None:
    plan = parse_manifest(MANIFEST, path=tmp_path / "quantize.yml")
    (job,) = plan.jobs
    (cell,) = job.cells
    estimate = JobEstimate(
        job=job.id,
        download_bytes=1,
        disk_bytes=2,
        peak_memory_bytes=3,
        activation_bytes=4,
        state_bytes=7,
        parameters=5,
        cells={cell.id: 6},
        group_sizes={cell.id: 64},
        formats={cell.id: "gptq"},
    )
    verdict = Verdict(build=True, reasons=("new",), text="never published")
    document = plan_json(plan, {job.id: estimate}, {cell.id: verdict})
    validator = Draft202012Validator(plan_schema())
    validator.validate(document)
    validator.validate(added(document))


def test_a_report_of_a_later_version_is_read(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    record = replace(
        RECORD,
        measurements=MEASURED,
        terms=Terms(license="mit"),
        inputs={"base": "a"},
        error="no",
        code=ErrorCode.PUBLISH,
        status="built",
    )
    plan = parse_manifest(MANIFEST, path=tmp_path / "quantize.yml")
    write_report(tmp_path, [record], started=now, finished=now, command="x", publish=plan.publish)
    document = read_json(tmp_path / "report.json")
    write_json(tmp_path / "report.json", added(document))
    assert json.dumps(read_json(tmp_path / "report.json")).count("x_of_later") > 8
    settings = {**record.settings, **LATER}
    assert read_report(tmp_path) == (replace(record, settings=settings),)
    spec = read_publish_spec(tmp_path)
    assert spec is not None
    assert spec.to == DEFAULT_TARGET

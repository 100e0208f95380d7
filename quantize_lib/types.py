"""The words of the project as types: everything that travels between modules.

No heavy import stands here: `validate`, `plan` and `--help` load this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

MethodName = Literal["gptq", "awq", "bitsandbytes"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
GroupSize = int | Literal["auto"]
CellStatus = Literal["published", "built", "skipped", "failed", "gated"]

METHOD_SLUG: Mapping[MethodName, str] = {"gptq": "gptq", "awq": "awq", "bitsandbytes": "bnb"}
"""How a method is written in a cell id and in a name template."""

FITTING_GROUP_SIZES = (128, 64, 32, 16)
"""Group sizes that the kernels take, in the order in which `auto` tries them."""


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """Where calibration or evaluation text comes from: one of data set, files or texts."""

    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str = "main"
    files: tuple[Path, ...] = ()
    """Absolute paths, globs already expanded, sorted within each pattern."""
    texts: tuple[str, ...] = ()
    samples: int = 128
    sequence_length: int = 512
    seed: int = 0
    allow_short: bool = False
    """Too little text is a warning rather than an error (the guide's form)."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """Other settings for the modules whose full name matches a glob pattern."""

    modules: str
    bits: int | None = None
    group_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one cell is quantized. What does not belong to the method keeps its default."""

    method: MethodName
    bits: int
    group_size: GroupSize = "auto"
    desc_act: bool = False
    sym: bool = True
    modules_to_not_convert: tuple[str, ...] = ()
    """Glob patterns on full module names; matching linear layers stay in full precision."""
    overrides: tuple[Override, ...] = ()
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A base model as the manifest names it."""

    id: str
    """Hub id, or the path as written in the manifest."""
    name: str
    """The model's part of a cell id."""
    local: Path | None = None
    """Absolute path of a local model folder; None for a Hub model."""
    revision: str = "main"
    trust_remote_code: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec:
    """What is measured, and the gate."""

    perplexity: TextSpec | None = None
    max_perplexity_increase: float | None = None
    """A fraction: 0.15 for 15%."""
    max_kl_divergence: float | None = None
    """In nats per token."""


@dataclass(frozen=True, kw_only=True)
class PublishSpec:
    """Where checkpoints go."""

    to: Literal["directory", "hub"] = "directory"
    path: Path = Path("published")
    """Absolute after parsing; only for `directory`."""
    namespace: str | None = None
    name: str = "{model}-{method}-{bits}bit"
    private: bool = True
    rebuild_on_new_version: bool = False
    """Cells that another version of this tool published are built again."""
    terms_allow_public: bool = False
    """A gated or private base may become an open, public model."""
    tag: bool = False
    """Tag the first publication from each commit of the base."""
    collection: str | None = None
    """A title; `{model}` is the base model's name."""
    pull_request: bool = False
    """Open a pull request instead of committing to the main branch."""


@dataclass(frozen=True, kw_only=True)
class RunnersSpec:
    """Labels of the runners that GitHub fans the jobs out to."""

    cpu: tuple[str, ...] = ("ubuntu-latest",)
    cuda: tuple[str, ...] = ("self-hosted", "gpu")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model × method × bits with its settings: one output repository."""

    id: str
    settings: Settings
    repository: str
    """`namespace/name`, or `name` where the manifest has no namespace."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All cells of one model on one device: one download, one load, one calibration pass."""

    id: str
    model: ModelSpec
    device: DeviceName
    calibration: TextSpec
    evaluate: EvaluateSpec
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A manifest with everything resolved that needs neither network nor model."""

    manifest: Path | None
    jobs: tuple[Job, ...]
    publish: PublishSpec
    runners: RunnersSpec
    warnings: tuple[str, ...] = ()

    def cells(self) -> Iterator[tuple[Job, Cell]]:
        """Every cell with its job, in the manifest's order."""
        for job in self.jobs:
            for cell in job.cells:
                yield job, cell


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    name: str
    dtype: str
    """As safetensors writes it: F32, F16, BF16, …"""
    shape: tuple[int, ...]
    file: str
    """The shard, relative to the model's folder."""


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """A linear layer that will be quantized, known from config and headers alone."""

    name: str
    """The module's full name, without `.weight`."""
    in_features: int
    out_features: int
    not_for: tuple[MethodName, ...] = ()
    """Methods that leave it in full precision, because transformers cannot load it in their format."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What binds whoever passes a base model on."""

    license: str | None = None
    """The licence's id as the card says it; its name where the id is `other`."""
    gated: Literal["auto", "manual"] | None = None
    """Who wants the model must ask, and gets an answer at once or by a person."""
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the Hub lists it."""

    size: int
    sha256: str | None = None
    """Of a file in LFS."""
    oid: str | None = None
    """Of any other: its git object id, a sha1 over a short header and the bytes."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a base model before its weights are read."""

    config: Mapping[str, Any]
    revision: str
    """40-hex commit of a Hub model; `sha256:…` content hash of a local folder."""
    tensors: Mapping[str, TensorInfo]
    layers: tuple[LayerInfo, ...]
    """The linear layers inside the decoder blocks, in the model's order."""
    weight_bytes: int
    """Bytes of all files with weights, on disk."""
    download_bytes: int
    """Bytes still to be fetched; 0 for a local folder."""
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    """Everything that a Hub model's repository holds at `revision`."""
    terms: Terms = Terms()


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A base model on this machine's disk."""

    folder: Path
    facts: ModelFacts
    license: str | None = None
    """`license` of the base model's card; None where it says nothing."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """The YAML metadata of the base model's card."""


@dataclass(frozen=True, kw_only=True)
class TextRecord:
    """Which text was used, as it stands in report and card."""

    source: str
    """`Salesforce/wikitext (wikitext-2-raw-v1, train)`, `3 files`, `2 texts`."""
    dataset: str | None
    """Hub id of the data set; None for files and texts."""
    revision: str
    """40-hex commit of a Hub data set; `sha256:…` content hash of files and texts."""
    samples: int
    sequence_length: int
    tokens: int
    tokens_digest: str
    """sha256 of the token ids as little-endian int64."""
    short: bool = False
    """Less text than was asked for."""


@dataclass(frozen=True, kw_only=True)
class Reload:
    """What a fresh process saw that loaded the checkpoint the way a user would."""

    load_seconds: float
    peak_memory_bytes: int
    prompt: str
    generated: str
    """Greedy continuation of `prompt` by the quantized model, without the prompt."""
    base_generated: str
    """The same of the base model."""
    sample_tokens: int
    sample_perplexity: float | None
    """Of the reloaded checkpoint on the sample; None where no evaluation was asked for."""
    sample_perplexity_pass: float | None
    """Of the pass on the same sample."""
    sample_kl_divergence: float | None
    sample_kl_divergence_pass: float | None
    reproduced: bool
    """Whether the files say the same as the pass did."""
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Everything that was measured of one cell; nothing here is estimated."""

    size_before: int
    """Bytes of the base model's weights on disk."""
    size_after: int
    """Bytes of the checkpoint's weights on disk."""
    seconds: float
    """Wall time of the cell's own work plus its share of the pass."""
    peak_memory_bytes: int
    """Peak resident memory of the process that quantized the job (on CUDA: of the device)."""
    perplexity_before: float | None = None
    perplexity_after: float | None = None
    kl_divergence: float | None = None
    """Mean KL(base ‖ quantized) of the next-token distributions, nats per token."""
    evaluation: TextRecord | None = None
    reload: Reload | None = None


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One row of `report.json`."""

    id: str
    model: str
    revision: str | None
    method: MethodName
    bits: int
    settings: Mapping[str, Any]
    """The settings as resolved: group_size is the number that was used."""
    status: CellStatus
    error: str | None = None
    path: str | None = None
    """The checkpoint, relative to the report's folder."""
    repository: str | None = None
    commit: str | None = None
    url: str | None = None
    """Where a person sees that commit, or the pull request that has it; None for a folder."""
    fingerprint: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the fingerprint is made of (`plan.fingerprint.inputs`), so that a plan can say what changed."""
    calibration: TextRecord | None = None
    measurements: Measurements | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each file of the checkpoint, by relative path."""
    notes: tuple[str, ...] = ()
    terms: Terms | None = None
    """Of the base model; None where they are not known, which counts as private."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """The gate it has to meet (`gate.limits`); `publish DIR` holds it against these again."""


class Progress(Protocol):
    """One running progress bar."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""


class Reporter(Protocol):
    """Where everything that a person should see goes; made by the command line."""

    def info(self, message: str) -> None:
        """A plain line."""

    def warning(self, message: str) -> None:
        """Something that needs attention but stops nothing."""

    def error(self, message: str) -> None:
        """Something that failed."""

    def group(self, title: str) -> AbstractContextManager[None]:
        """A foldable part of the log."""

    def progress(self, title: str, total: int, unit: str) -> AbstractContextManager[Progress]:
        """A bar with rate and time left; `unit` as in `block` or `B` for bytes."""


class Interrupted(BaseException):
    """SIGTERM; like KeyboardInterrupt not an Exception, so that nothing on the way swallows it."""
